"""`esblend attach`, `detach`."""

import time
from typing import Annotated, Any
from urllib.parse import quote

import typer
from elasticsearch import Elasticsearch

from esblend.cli.console import count_progress, err, out, print_json
from esblend.cli.gateway_client import USAGE, DataDir, Json, call, gateway, whole_path
from mappings.command_options import (
    Dims,
    EfConstruction,
    ElementType,
    M,
    MaxTokens,
    OverlapTokens,
    Oversample,
    QueryModel,
    VectorType,
    given,
)

app = typer.Typer()


@app.command()
def attach(
    index: Annotated[str, typer.Argument(help="An index, an alias, a data stream, or with --template a template.")],
    fields: Annotated[str, typer.Option(help="Text fields to embed, title first: title,body")],
    model: Annotated[
        str | None, typer.Option(callback=whole_path, help="Model folder or hub name; default: the gateway's.")
    ] = None,
    query_model: QueryModel = None,
    template: Annotated[
        str | None, typer.Option(help="index or component: attach a template, for the indices made of it later.")
    ] = None,
    flat: Annotated[
        bool, typer.Option("--flat", help="One vector a document: for texts that one passage holds.")
    ] = False,
    similarity: Annotated[
        str | None, typer.Option(help="dot_product, cosine, max_inner_product, l2_norm (the model's own).")
    ] = None,
    adopt: Annotated[str | None, typer.Option(help="Search a dense_vector that is there; --model made it.")] = None,
    keep_current: Annotated[
        bool, typer.Option("--keep-current", help="With --adopt: embed what changes, too.")
    ] = False,
    max_tokens: MaxTokens = None,
    overlap_tokens: OverlapTokens = None,
    vector_type: VectorType = None,
    m: M = None,
    ef_construction: EfConstruction = None,
    element_type: ElementType = None,
    oversample: Oversample = None,
    dims: Dims = None,
    guard: Annotated[
        bool, typer.Option("--guard", help="Drop a vector in the very write that changes its text (a final_pipeline).")
    ] = False,
    versioning: Annotated[
        str, typer.Option(help="external: writers bring their own version numbers (version_type=external).")
    ] = "internal",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be added to the mapping; change nothing.")
    ] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Attach an index: its documents get vectors, those of today and those to come.

    The mapping is only added to. Writers go on as before.
    """
    body: dict[str, Any] = {"source_fields": [field.strip() for field in fields.split(",") if field.strip()]}
    if model:
        body["model"] = model
    body["passages"] = given(max_tokens=max_tokens, overlap_tokens=overlap_tokens)
    body["vector"] = given(
        type=vector_type, m=m, ef_construction=ef_construction, element_type=element_type, oversample=oversample, dims=dims,
        layout="flat" if flat else None, similarity=similarity,
    )  # fmt: skip
    body |= {"guard": guard, "versioning": versioning}
    if query_model:
        body["query_model"] = query_model
    if adopt:
        body["adopt"] = {"field": adopt, "keep_current": keep_current}
    with gateway(data_dir) as es:
        params = {"dry_run": "true"} if dry_run else {}
        answer = call(es.options(request_timeout=300), "PUT", _path(index, template), body, params)
    if as_json or dry_run:
        print_json(answer)
        return
    attachment = answer["attachment"]
    generation = attachment["generations"][attachment["active"]]
    out.print(
        f"[green]Attached[/] {answer.get('index', index)}: {', '.join(attachment['source_fields'])} "
        f"with {generation['model']['name']} ({generation['model']['dims']} dimensions).",
        highlight=False,
    )
    if template is None:
        out.print(f"Watch it with: esblend status {answer['index']} --watch", highlight=False)


def _path(name: str, template: str | None) -> str:
    if template not in (None, "index", "component"):
        err.print(f"--template is index or component, not {template}.", style="red")
        raise typer.Exit(USAGE)
    kind = {None: "indices", "index": "templates", "component": "component-templates"}[template]
    return f"/_esblend/{kind}/{quote(name, safe='')}"


@app.command()
def detach(
    index: Annotated[str, typer.Argument(help="An index, or an alias of one; with --template a template.")],
    template: Annotated[str | None, typer.Option(help="index or component: of a template.")] = None,
    reindex: Annotated[
        str | None, typer.Option(help="Copy the documents without what esblend added into this new index.")
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Take the attachment off. Fields cannot leave a mapping, so vectors stay; --reindex copies the documents without them."""
    with gateway(data_dir) as es:
        if reindex is not None:
            attached = call(es, "GET", _path(index, None))
        answer = call(es, "DELETE", _path(index, template))
        if reindex is not None:
            answer |= _copy_plain(es, attached["index"], reindex, attached["attachment"]["field"])
    if as_json:
        print_json(answer)
    else:
        out.print(f"Detached {answer.get('index', index)}; {answer['remains']}.", highlight=False)


def _copy_plain(es: Elasticsearch, index: str, name: str, field: str) -> dict[str, Any]:
    """Copy an index's documents without `field` into a new index of the same settings and mapping."""
    found = es.indices.get(index=index)[index]
    mapping = {**found["mappings"]}
    mapping["properties"] = {key: value for key, value in mapping["properties"].items() if key != field}
    kept = ("number_of_shards", "number_of_replicas", "analysis", "mapping")
    settings = {key: value for key, value in found["settings"]["index"].items() if key in kept}
    es.indices.create(index=name, mappings=mapping, settings=settings)
    total = es.count(index=index)["count"]
    task = es.reindex(
        source={"index": index, "_source": {"excludes": [field]}}, dest={"index": name}, wait_for_completion=False
    )["task"]
    with count_progress() as progress:
        bar = progress.add_task("Copying", total=total)
        while not (state := es.tasks.get(task_id=task))["completed"]:
            progress.update(bar, completed=state["task"]["status"].get("created", 0))
            time.sleep(0.5)
    failures = state["response"]["failures"]
    es.indices.refresh(index=name)
    return {
        "remains": f"{state['response']['created']} documents are in {name}",
        "reindexed": name,
        "failures": failures,
    }
