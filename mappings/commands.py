"""`esblend attach`, `detach`."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from esblend.client import DataDir, Json, call, gateway
from esblend.console import out, print_json

app = typer.Typer()
Index = Annotated[str, typer.Argument(help="An index, or an alias of one.")]


@app.command()
def attach(
    index: Index,
    fields: Annotated[str, typer.Option(help="Text fields to embed, title first: title,body")],
    model: Annotated[str | None, typer.Option(help="Model folder or hub name; default: the gateway's.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest passage in word pieces (250).")] = None,
    overlap_tokens: Annotated[int | None, typer.Option(help="Word pieces that passages share, about (30).")] = None,
    vector_type: Annotated[
        str | None, typer.Option(help="hnsw, int8_hnsw, int4_hnsw, bbq_hnsw, flat, ... (int8_hnsw)")
    ] = None,
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
    passages = {"max_tokens": max_tokens, "overlap_tokens": overlap_tokens}
    body["passages"] = {key: value for key, value in passages.items() if value is not None}
    body["vector"] = {"type": vector_type} if vector_type else {}
    body |= {"guard": guard, "versioning": versioning}
    with gateway(data_dir) as es:
        params = {"dry_run": "true"} if dry_run else {}
        answer = call(
            es.options(request_timeout=300), "PUT", f"/_esblend/indices/{quote(index, safe='')}", body, params
        )
    if as_json or dry_run:
        print_json(answer)
        return
    attachment = answer["attachment"]
    generation = attachment["generations"][attachment["active"]]
    out.print(
        f"[green]Attached[/] {answer['index']}: {', '.join(attachment['source_fields'])} "
        f"with {generation['model']['name']} ({generation['model']['dims']} dimensions).",
        highlight=False,
    )
    out.print(f"Watch it with: esblend status {answer['index']} --watch", highlight=False)


@app.command()
def detach(index: Index, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Take the attachment off an index. Vectors stay until the index is re-indexed."""
    with gateway(data_dir) as es:
        answer = call(es, "DELETE", f"/_esblend/indices/{quote(index, safe='')}")
    if as_json:
        print_json(answer)
    else:
        out.print(f"Detached {answer['index']}; {answer['remains']}.", highlight=False)
