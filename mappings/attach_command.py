"""`esblend attach`, `detach`."""

import time
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from esblend.cli.console import count_progress, err, out, print_json
from esblend.cli.gateway_client import DataDir, Json, call, end, gateway, whole_command, whole_path
from mappings.command_options import Template, VectorSettings, set_options, with_vector_settings
from mappings.index_state import page_size
from mappings.stored_vectors import generations_in, holding, remove_generations

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

app = typer.Typer()
_PAGE = 1000


@app.command()
@with_vector_settings
def attach(
    index: Annotated[str, typer.Argument(help="An index, alias or data stream; with --template, a template.")],
    settings: VectorSettings,
    fields: Annotated[str | None, typer.Option(help="Text fields to embed, title first: title,body")] = None,
    model: Annotated[
        str | None, typer.Option(callback=whole_path, help="Model folder or hub name; default: the gateway's model.")
    ] = None,
    template: Template = None,
    flat: Annotated[
        bool, typer.Option("--flat", help="One vector per document, for texts that fit into one passage.")
    ] = False,
    similarity: Annotated[
        str | None, typer.Option(help="dot_product, cosine, max_inner_product or l2_norm; default: the model's own.")
    ] = None,
    adopt: Annotated[str | None, typer.Option(help="Search this existing dense_vector field, made by --model.")] = None,
    keep_current: Annotated[
        bool, typer.Option("--keep-current", help="With --adopt: also embed new and changed documents.")
    ] = False,
    guard: Annotated[
        bool, typer.Option("--guard", help="Remove a vector in the same write that changes its text (final_pipeline).")
    ] = False,
    versioning: Annotated[
        str, typer.Option(help="external: applications write with their own version numbers (version_type=external).")
    ] = "internal",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the mapping additions; change nothing.")] = False,
    restore: Annotated[
        bool, typer.Option("--restore", help="Restore an attachment that another client has overwritten.")
    ] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Attach an index: existing, new and changed documents get vectors.

    This only adds to the mapping. Applications that write to the index need no changes.
    """
    if restore:
        _restore(index, data_dir, as_json=as_json)
        return
    if fields is None:
        end("Name the text fields to embed: --fields title,body")
    layout = {"layout": "flat" if flat else None, "similarity": similarity}
    body: dict[str, Any] = {
        "source_fields": [field.strip() for field in fields.split(",") if field.strip()],
        "passages": settings.passages,
        "vector": settings.vector | set_options(layout),
        "guard": guard,
        "versioning": versioning,
        **set_options({"model": model, "query_model": settings.query_model}),
    }
    if adopt:
        body["adopt"] = {"field": adopt, "keep_current": keep_current}
    with gateway(data_dir) as es:
        params = {"dry_run": "true"} if dry_run else {}
        response = call(es.options(request_timeout=300), "PUT", _path(index, template), body, params)
    if as_json or dry_run:
        print_json(response)
        return
    attachment = response["attachment"]
    generation = attachment["generations"][attachment["active"]]
    out.print("Attached", style="green", end=" ")
    out.print(
        f"{response.get('index', index)}: {', '.join(attachment['source_fields'])} "
        f"with {generation['model']['name']} ({generation['model']['dims']} dimensions).",
    )
    if template is None:
        watch = whole_command(f"esblend status {response['index']} --watch", data_dir)
        out.print(f"Watch the progress: {watch}", soft_wrap=True)


def _restore(index: str, data_dir: DataDir, *, as_json: bool) -> None:
    with gateway(data_dir) as es:
        response = call(es, "POST", f"{_path(index, None)}/_restore")
    if as_json:
        print_json(response)
        return
    result = "Restored the attachment" if response["changed"] else "Nothing to restore: the attachment exists"
    out.print(f"{result} of {response['index']}.")


@app.command()
def detach(
    index: Annotated[str, typer.Argument(help="An index, or an alias of one; with --template, a template.")],
    template: Template = None,
    reindex: Annotated[
        str | None, typer.Option(help="Copy the documents without esblend's fields into this new index.")
    ] = None,
    purge: Annotated[
        bool, typer.Option("--purge", help="Remove all vectors of esblend from the documents; this rewrites them.")
    ] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Remove the attachment. New and changed documents no longer get vectors.

    Elasticsearch never removes fields from a mapping, and vectors remain in the documents. --purge removes the vectors of
    this and of earlier attachments; --reindex copies the documents without esblend's fields.
    """
    if purge and template is not None:
        end("--purge is for an index: a template has no documents.")
    with gateway(data_dir) as es:
        if reindex is not None or purge:
            attached = call(es, "GET", _path(index, None))
            page = page_size(es, attached["index"], _PAGE)  # before anything changes: the index may be closed
        if reindex is not None and es.indices.exists(index=reindex):
            end(f"--reindex {reindex}: this index exists; name a new one.")
        if purge and attached["attachment"].get("versioning") == "external":
            end("--purge would raise the versions that your writers assign (versioning: external). Use --reindex.")
        response = call(es, "DELETE", _path(index, template))
        if purge:
            response |= _purge(es, attached["index"], attached["attachment"]["field"])
        if reindex is not None:
            response |= _copy_plain(es, attached["index"], reindex, attached["attachment"]["field"], page)
    if as_json:
        print_json(response)
    else:
        out.print(f"Detached {response.get('index', index)}; {response['remains']}.")


def _path(name: str, template: str | None) -> str:
    if template not in (None, "index", "component"):
        end(f"--template must be index or component, not {template}.")
    kind = {None: "indices", "index": "templates", "component": "component-templates"}[template]
    return f"/_esblend/{kind}/{quote(name, safe='')}"


def _purge(es: "Elasticsearch", index: str, field: str) -> dict[str, Any]:
    """Remove every generation that the mapping has fields for from the documents."""
    generations = sorted(generations_in(es.indices.get_mapping(index=index)[index]["mappings"], field))
    with err.status(f"Removing the vectors from the documents of {index}"):
        changed = remove_generations(es, index, field, generations, holding(field, generations))
    return {"purged": changed, "remains": f"the vectors are removed from {changed} documents; the empty fields remain"}


def _copy_plain(es: "Elasticsearch", index: str, name: str, field: str, page: int) -> dict[str, Any]:
    """Copy an index's documents without `field` into a new index of the same settings and mapping, in pages of `page`."""
    original = es.indices.get(index=index)[index]
    mapping = {**original["mappings"]}
    mapping["properties"] = {key: value for key, value in mapping["properties"].items() if key != field}
    copied = ("number_of_shards", "number_of_replicas", "analysis", "mapping")
    settings = {key: value for key, value in original["settings"]["index"].items() if key in copied}
    es.indices.create(index=name, mappings=mapping, settings=settings)
    total = es.count(index=index)["count"]
    task = es.reindex(
        source={"index": index, "_source": {"excludes": [field]}, "size": page}, dest={"index": name},
        wait_for_completion=False,
    )["task"]  # fmt: skip
    with count_progress() as progress:
        bar = progress.add_task("Copying", total=total)
        while not (state := es.tasks.get(task_id=task))["completed"]:
            progress.update(bar, completed=state["task"]["status"].get("created", 0))
            time.sleep(0.5)
    es.indices.refresh(index=name)
    return {
        "remains": f"{state['response']['created']} documents are in {name}",
        "reindexed": name,
        "failures": state["response"]["failures"],
    }
