"""`esblend search`."""

from enum import StrEnum
from typing import Annotated, Any

import orjson
import typer

from esblend.cli.console import err, out, print_json
from esblend.cli.gateway_client import DataDir, Json, end, gateway
from mappings.command_options import IndexArgument
from query.cli.hit_list import HIGHLIGHT, hit_list

app = typer.Typer()


class Mode(StrEnum):
    HYBRID = "hybrid"
    BM25 = "bm25"
    KNN = "knn"


@app.command()
def search(
    index: IndexArgument,
    question: Annotated[str, typer.Argument(help="The query text.")],
    size: Annotated[int, typer.Option("--size", "-n", min=1, max=1000, help="Hits to show.")] = 10,
    filter_: Annotated[
        list[str] | None,
        typer.Option("--filter", help="A query in JSON, or Lucene syntax: 'kind:function'. May be repeated."),
    ] = None,
    mode: Annotated[Mode, typer.Option(help="The blend, or one of its legs alone.")] = Mode.HYBRID,
    explain: Annotated[bool, typer.Option("--explain", help="Show what each leg contributes to a score.")] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Search an attached index and show each hit with its matching passage."""
    filters = [_filter(text) for text in filter_ or []]
    with gateway(data_dir) as es:
        body: dict[str, Any] = {
            "size": size,
            "query": {"hybrid": {"query": question, "filter": filters, "inner_hits": {}}},
        }
        if mode is Mode.BM25:
            body["query"]["hybrid"]["alpha"] = 0
        elif mode is Mode.KNN:
            body["query"]["hybrid"]["alpha"] = 1
        if explain:
            body["explain"] = True
        if not as_json:
            body["highlight"] = HIGHLIGHT
        response = es.search(index=index, body=body)
    if as_json:
        print_json(response.body)
        return
    _show(response.body, explain=explain)


def _filter(text: str) -> dict[str, Any]:
    if not text.lstrip().startswith("{"):
        return {"query_string": {"query": text}}
    try:
        return dict(orjson.loads(text))
    except orjson.JSONDecodeError as error:
        end(f"--filter is not JSON: {error}")


def _show(response: dict[str, Any], *, explain: bool) -> None:
    for reason in response.get("esblend", {}).get("degraded", []):
        err.print(f"Answered from BM25 alone: {reason}", style="yellow")
    total = response["hits"]["total"]
    count = f"{'at least ' if total['relation'] == 'gte' else ''}{total['value']}"
    out.print(f"{count} {'hit' if total['value'] == 1 else 'hits'} in {response['took']} ms")
    if response["hits"]["hits"]:
        explanations = response.get("esblend", {}).get("explanations") if explain else None
        out.print(hit_list(response["hits"]["hits"], explanations))
