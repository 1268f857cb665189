"""TREC run files: runs of other systems to compare with, and the runs of an evaluation."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from esblend.errors import InvalidRequest, UnusableFile
from query.lab.judgements import Judged, write_qrels

if TYPE_CHECKING:
    from query.lab.evaluation import Evaluation


def read_runs(
    files: Sequence[Path], systems: Sequence[str], judged: Judged | None
) -> dict[str, dict[str, dict[str, float]]]:
    """Run files by their names. Raises InvalidRequest when two systems would have one name, or when a run is of other queries."""
    runs: dict[str, dict[str, dict[str, float]]] = {}
    for file in files:
        if file.stem in (*systems, *runs):
            raise InvalidRequest(f"--run {file}: another system is named [{file.stem}], too; rename the file")
        runs[file.stem] = _read_run(file)
        if judged is not None and not runs[file.stem].keys() & judged.queries.keys():
            raise InvalidRequest(f"--run {file} has none of the queries of [{judged.name}]; check the query ids")
    return runs


def refuse_equal_labels(systems: Sequence[str]) -> None:
    """Raises InvalidRequest when --runs would write two systems to one file."""
    labels = Counter(map(_label, systems))
    for name in systems:
        if labels[_label(name)] > 1:
            raise InvalidRequest(f"--runs would write two systems to {_label(name)}.run; rename the file of --run")


def _label(system: str) -> str:
    """The name of a system's run file, without suffix."""
    return system.replace(",", "").replace(" ", "-").lower()


def _read_run(file: Path) -> dict[str, dict[str, float]]:
    """A TREC run file. Raises UnusableFile when it cannot be read."""
    import ir_measures

    run: dict[str, dict[str, float]] = {}
    try:
        for row in ir_measures.read_trec_run(str(file)):  # type: ignore[no-untyped-call]
            run.setdefault(row.query_id, {})[row.doc_id] = row.score
    except (OSError, ValueError, IndexError) as error:
        raise UnusableFile(f"--run {file} cannot be read as a TREC run: {error}") from error
    return {id_: dict(sorted(hits.items(), key=lambda hit: -hit[1])) for id_, hits in run.items()}


def write_runs(evaluation: "Evaluation", folder: Path) -> None:
    """Write the qrels and a run file for each system. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    write_qrels(evaluation.judged, folder / "qrels.txt")
    for name, measured in evaluation.systems.items():
        label = _label(name)
        lines = [
            f"{id_} Q0 {document} {rank} {score:.12g} {label}"
            for id_, hits in measured.run.items()
            for rank, (document, score) in enumerate(hits.items(), 1)
        ]
        (folder / f"{label}.run").write_text("\n".join(lines) + "\n", "utf-8")
