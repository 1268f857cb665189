"""`esblend search`."""

from enum import StrEnum
from typing import Annotated, Any

import orjson
import typer
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from esblend.cli.console import err, out, print_json
from esblend.cli.gateway_client import USAGE, DataDir, Json, gateway

app = typer.Typer()


class Mode(StrEnum):
    HYBRID = "hybrid"
    BM25 = "bm25"
    KNN = "knn"


@app.command()
def search(
    index: Annotated[str, typer.Argument(help="An attached index.")],
    question: Annotated[str, typer.Argument(help="What to look for.")],
    size: Annotated[int, typer.Option("--size", "-n", min=1, max=1000)] = 10,
    filter_: Annotated[
        list[str] | None,
        typer.Option("--filter", help="A query in JSON, or Lucene syntax: 'kind:function'. May be repeated."),
    ] = None,
    mode: Annotated[Mode, typer.Option(help="The blend, or one of its legs alone.")] = Mode.HYBRID,
    explain: Annotated[bool, typer.Option("--explain", help="Show what each leg adds to a score.")] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Search an attached index, and show each hit with the passage that matched."""
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
        answer = es.search(index=index, body=body)
    if as_json:
        print_json(answer.body)
        return
    _show(answer.body, explain=explain)


def _filter(text: str) -> dict[str, Any]:
    if not text.lstrip().startswith("{"):
        return {"query_string": {"query": text}}
    try:
        return dict(orjson.loads(text))
    except orjson.JSONDecodeError as error:
        err.print(f"--filter is no JSON: {error}", style="red", markup=False)
        raise typer.Exit(USAGE) from error


def _show(answer: dict[str, Any], *, explain: bool) -> None:
    for reason in answer.get("esblend", {}).get("degraded", []):
        err.print(f"Answered from BM25 alone: {reason}", style="yellow", markup=False)
    total = answer["hits"]["total"]
    out.print(
        f"{'at least ' if total['relation'] == 'gte' else ''}{total['value']} hits in {answer['took']} ms",
        highlight=False,
    )
    table = Table(show_lines=True)
    for heading in ("#", "score", "document", "passage"):
        table.add_column(heading, overflow="fold")
    for rank, hit in enumerate(answer["hits"]["hits"], start=1):
        source = hit.get("_source") or {}
        title = str(source.get("title") or source.get("name") or "")
        document = Text(hit["_id"] if title in ("", hit["_id"]) else f"{hit['_id']}\n{title}")
        table.add_row(str(rank), f"{hit['_score']:.4f}", document, Text(passage_of(hit)[:400]))
    out.print(table)
    if explain:
        for hit in answer["hits"]["hits"]:
            out.print(_tree(hit))


def passage_of(hit: dict[str, Any]) -> str:
    """The text of a hit's best passage; empty when the vector leg did not match."""
    inside = hit.get("inner_hits", {}).get("passages", {}).get("hits", {}).get("hits", [])
    return str(inside[0]["fields"]["text"][0]) if inside else ""


def _tree(hit: dict[str, Any]) -> Tree:
    def grow(tree: Tree, node: dict[str, Any]) -> None:
        branch = tree.add(Text(f"{node['value']:.6g}  {node['description']}"))
        for detail in node.get("details", []):
            grow(branch, detail)

    tree = Tree(Text(hit["_id"], style="bold"))
    grow(tree, hit["_explanation"])
    return tree
