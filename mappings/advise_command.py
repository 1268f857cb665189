"""`esblend advise`."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer
from rich.text import Text

from esblend.cli.console import counted, err, out, print_json, table
from esblend.cli.gateway_client import DataDir, Json, call, gateway, whole_command
from mappings.command_options import IndexArgument
from mappings.index_state import page_size

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from mappings.attachment import Attachment

app = typer.Typer()
_SAMPLE = 2000
_PAGE = 500
_MIN_VECTORS = 300
"""With fewer vectors, recall is not measured."""


@app.command()
def advise(
    index: IndexArgument,
    documents: Annotated[
        int | None, typer.Option(min=1, help="Number of documents to estimate for; default: the present number.")
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Estimate RAM, disk and recall of each vector type from the index's own numbers, and recommend one.

    Recall is measured on a sample of the index's own vectors, which this command quantises. To change the type, run
    `esblend migrate INDEX --vector-type ...`.
    """
    from mappings.advice import is_good_enough, options, recommend
    from mappings.attachment import Attachment

    with gateway(data_dir) as es:
        attached = call(es, "GET", f"/_esblend/indices/{quote(index, safe='')}")
        attachment = Attachment.model_validate(attached["attachment"])
        page = page_size(es, attached["index"], _PAGE)
        count, passages = _counts(es, attached["index"], attachment)
        sample = _sample(es, attached["index"], attachment, page)
    per_document = passages / count if count else 1.0
    total = round((documents or count) * per_document)
    choices = options(attachment.generation.model.dims, total, sample)
    vector = attachment.generation.vector
    present, now = (
        vector.type,
        next((o for o in choices if (o.type, o.oversample) == (vector.type, vector.oversample)), None),
    )
    best = recommend(choices, total)
    if now is not None and is_good_enough(now, best):
        best = now
    if as_json:
        print_json({
            "index": attached["index"], "documents": documents or count, "passages": total, "present": present,
            "recommended": asdict(best), "options": [asdict(option) for option in choices],
        })  # fmt: skip
        return
    title = f"{attached['index']}: {counted(total, 'passage')}"
    figures = ("oversample", "RAM", "disk", "recall@10")
    shown = table("type", *figures, figures=figures, title=title)
    for option in choices:
        style = "bold green" if option == best else ""
        recall = "" if option.recall is None else f"{option.recall:.3f}"
        oversample = "" if option.oversample is None else f"{option.oversample:g}"
        shown.add_row(
            Text(option.type, style=style), oversample, _size(option.ram_bytes), _size(option.disk_bytes), recall
        )
    out.print(shown)
    if sample is None:
        err.print(f"Fewer than {_MIN_VECTORS} vectors: recall was not measured.", style="yellow")
    oversampling = "" if best.oversample is None else f" --oversample {best.oversample:g}"
    is_present = (best.type, best.oversample) == (present, vector.oversample)
    change = (
        "the present type"
        if is_present
        else f"now {present}: {whole_command(f'esblend migrate {index} --vector-type {best.type}{oversampling}', data_dir)}"
    )
    out.print(f"Recommended: {best.type}{oversampling.replace(' --', ', ')} ({change})", soft_wrap=True)


def _counts(es: "Elasticsearch", index: str, attachment: "Attachment") -> tuple[int, int]:
    """(documents with vectors, vectors)."""
    embedded = {"exists": {"field": attachment.vector_field}}
    if not attachment.is_nested:
        count = int(es.count(index=index, query=embedded)["count"])
        return count, count
    path = attachment.passages_path
    query = {"nested": {"path": path, "query": embedded}}
    inside = {"passages": {"nested": {"path": path}}}
    response = es.search(index=index, size=0, track_total_hits=True, query=query, aggregations=inside)
    return int(response["hits"]["total"]["value"]), int(response["aggregations"]["passages"]["doc_count"])


def _sample(es: "Elasticsearch", index: str, attachment: "Attachment", page: int) -> Any:
    """(n, dims) random vectors of the index, one per document, read in pages of `page`; None when there are too few."""
    import numpy as np

    from esblend.elasticsearch_connection import keeps_vectors_back
    from mappings.source import stored_vectors

    drawn = {"function_score": {"query": {"match_all": {}}, "random_score": {"seed": 0, "field": "_seq_no"}}}
    source: dict[str, Any] = {"includes": [attachment.field, attachment.vector_field]}
    if keeps_vectors_back(es):
        source["exclude_vectors"] = False
    rows: list[list[float]] = []
    after = None
    order: list[dict[str, Any]] = [{"_score": "desc"}, {"_seq_no": "asc"}]
    for _ in range(0, _SAMPLE, page):
        hits = es.search(index=index, size=page, query=drawn, source=source, sort=order, search_after=after)["hits"][
            "hits"
        ]
        rows += [vectors[0] for hit in hits if (vectors := stored_vectors(hit["_source"], attachment))]
        if len(hits) < page:
            break
        after = hits[-1]["sort"]
    if len(rows) < _MIN_VECTORS:
        return None
    sample = np.array(rows, dtype=np.float32)
    return sample / np.linalg.norm(sample, axis=1, keepdims=True)


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024 or unit == "TiB":
            return f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")
