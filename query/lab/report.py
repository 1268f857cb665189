"""Writes an evaluation as one HTML file: the result in a sentence, its details, plots, and every query with its hits.

The file needs no other file and no network. Its content security policy permits its own script only.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from query.lab import plots
from query.lab.evaluation import Evaluation
from query.lab.evaluation_details import SHOWN_HITS, EvaluationDetails
from query.lab.measures import MAIN, MEASURES
from query.lab.summary import best_values, compared, p_text, sentence


def write_html(evaluation: Evaluation, details: EvaluationDetails, file: Path) -> None:
    """Everything that comes from the index or from judgements is escaped."""
    environment = Environment(loader=PackageLoader("query.lab", "templates"), autoescape=select_autoescape())
    environment.filters["p"] = p_text
    script, style = (
        files("query.lab").joinpath(f"templates/report.{kind}").read_text("utf-8") for kind in ("js", "css")
    )
    page = environment.get_template("report.html").render(
        evaluation=evaluation,
        facts=details.facts,
        sentence=sentence(evaluation),
        compared=compared(evaluation),
        measures=list(MEASURES),
        main=MAIN,
        best=best_values(evaluation),
        forest=plots.forest(evaluation.differences),
        curve=plots.curve(evaluation.curve, details.alpha),
        alpha=details.alpha,
        size=(plots.WIDTH, plots.HEIGHT),
        data=query_data(evaluation, details.documents),
        script=Markup(script),  # noqa: S704 -- of this package
        style=Markup(style),  # noqa: S704
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    file.write_text(page, "utf-8")


def query_data(evaluation: Evaluation, documents: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """The data for the page's script: each query's values and hits under each system. Hits name documents by
    their position in one list."""
    positions: dict[str, int] = {}

    def position(id_: str) -> int:
        return positions.setdefault(id_, len(positions))

    systems = list(evaluation.systems)
    queries = []
    for id_, text in evaluation.judged.queries.items():
        grades = evaluation.judged.grades[id_]
        hits = [list(evaluation.systems[name].run.get(id_, {}))[:SHOWN_HITS] for name in systems]
        shown = {document for ranking in hits for document in ranking if document in grades}
        queries.append(
            {
                "text": text,
                "values": [round(evaluation.systems[name].values[MAIN][id_], 4) for name in systems],
                "hits": [[position(document) for document in ranking] for ranking in hits],
                "grades": {str(position(document)): grades[document] for document in sorted(shown)},
                "relevant": sum(grade > 0 for grade in grades.values()),
            }
        )
    listed: Sequence[list[str]] = [[id_, *documents.get(id_, ("", ""))] for id_ in positions]
    return {
        "systems": systems,
        "baseline": evaluation.baseline,
        "compared": compared(evaluation),
        "measure": MAIN,
        "queries": queries,
        "documents": listed,
    }
