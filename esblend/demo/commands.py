"""`esblend demo`: all of esblend on one machine, in one command.

stack up -> index -> attach -> wait for coverage -> questions, three ways side by side -> prompt or stop
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from esblend.cli.console import count_progress, err, out
from esblend.cli.gateway_client import call, connect_gateway, stating_errors
from esblend.errors import LocalStackError
from esblend.local.commands import servers_in_environment

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch
    from rich.text import Text

    from esblend.demo.corpus import Entry

INDEX = "python-docs"
FIELDS = ("name", "doc")
MODEL = "minilm"
QUESTIONS = (
    "run something when the program exits",
    "remove a directory and everything in it",
    "how similar are two words",
    "pick random items without repetition",
    "Counter.most_common",
)
_MAPPING = {
    "properties": {
        "name": {"type": "text", "fields": {"raw": {"type": "keyword"}}, "analyzer": "simple"},
        "doc": {"type": "text", "analyzer": "english"},
        "signature": {"type": "text"},
        "kind": {"type": "keyword"},
        "module": {"type": "keyword"},
    }
}
_WAIT_SECONDS = 900

app = typer.Typer()


@app.command()
def demo(
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="The data folder of the demo.")] = None,
) -> None:
    """Start everything, index the documentation of Python's standard library, and search it in three ways.

    On a terminal it then takes your own questions; elsewhere it stops everything and ends.
    """
    from esblend.local.paths import default_data_dir
    from esblend.local.processes import leave_in_order
    from esblend.local.stack import StackOptions, down, up
    from esblend.settings import Settings

    folder = (data_dir or default_data_dir().parent / "demo").expanduser().resolve()
    leave_in_order()
    with stating_errors():
        try:
            settings = Settings()
            es_url, redis_url = servers_in_environment(settings)
            options = StackOptions(es=es_url, redis=redis_url, model=MODEL)
            state = up(folder, options, settings, lambda line: err.print(line))
            err.print(f"Elasticsearch {state.elasticsearch}, Redis {state.redis}, gateway {state.gateway}")
            with connect_gateway(folder) as es:
                _fill(es)
                for question in QUESTIONS:
                    _ask(es, question)
                if sys.stdin.isatty() and sys.stdout.isatty():
                    _converse(es, state.gateway)
        finally:
            err.print("Stopping everything")
            down(folder)


def _fill(es: "Elasticsearch") -> None:
    """Index the corpus and attach the index, unless an earlier run did both."""
    from elasticsearch.helpers import streaming_bulk

    from esblend.demo.corpus import read_corpus

    entries = read_corpus()
    if not es.indices.exists(index=INDEX):
        es.indices.create(index=INDEX, mappings=_MAPPING, settings={"number_of_shards": 1, "number_of_replicas": 0})
    if es.count(index=INDEX)["count"] < len(entries):
        with count_progress() as progress:
            task = progress.add_task("Indexing Python's documentation", total=len(entries))
            for _ in streaming_bulk(es, _actions(entries), index=INDEX, chunk_size=500):
                progress.advance(task)
    body = {"source_fields": list(FIELDS)}
    call(es.options(request_timeout=300), "PUT", f"/_esblend/indices/{INDEX}", body)
    began = time.monotonic()
    documents = _wait_for_vectors(es)
    err.print(
        f"{documents} documents searchable by words and by meaning ({time.monotonic() - began:.0f} s for the vectors)"
    )


def _actions(entries: "Sequence[Entry]") -> Any:
    return ({"_id": entry.name, "_source": entry.document()} for entry in entries)


def _wait_for_vectors(es: "Elasticsearch") -> int:
    deadline = time.monotonic() + _WAIT_SECONDS
    with count_progress() as progress:
        task = progress.add_task("Embedding", total=None)
        while True:
            status = call(es, "GET", f"/_esblend/indices/{INDEX}/status")
            done = status["documents"] - status["pending"]
            progress.update(
                task,
                total=status["documents"],
                completed=done,
                description=f"Embedding, {status['documents_per_second']:.0f}/s",
            )
            if not status["pending"]:
                return int(status["documents"])
            if time.monotonic() > deadline:
                raise LocalStackError(
                    f"after {_WAIT_SECONDS} s only {done} of {status['documents']} documents have vectors"
                )
            time.sleep(0.5)


def _ask(es: "Elasticsearch", question: str, *, size: int = 3) -> None:
    """One question in three ways, side by side."""
    from rich.table import Table

    ways: tuple[tuple[str, Callable[[], Any]], ...] = (
        (
            "BM25 alone",
            lambda: es.search(
                index=INDEX,
                size=size,
                query={"multi_match": {"query": question, "fields": list(FIELDS), "type": "most_fields"}},
            ),
        ),
        (
            "kNN alone",
            lambda: es.search(
                index=INDEX, size=size, query={"hybrid": {"query": question, "alpha": 1, "inner_hits": {}}}
            ),
        ),
        ("Blend", lambda: es.search(index=INDEX, size=size, query={"hybrid": {"query": question, "inner_hits": {}}})),
    )
    table = Table(title=f"“{question}”", title_style="bold", title_justify="left", expand=True, show_lines=True)
    columns = []
    for heading, search in ways:
        table.add_column(heading, ratio=1, overflow="fold")
        columns.append([_cell(hit) for hit in search()["hits"]["hits"]])
    for row in range(size):
        table.add_row(*(column[row] if row < len(column) else "" for column in columns))
    out.print(table)


def _cell(hit: dict[str, Any]) -> "Text":
    from rich.text import Text

    inside = hit.get("inner_hits", {}).get("passages", {}).get("hits", {}).get("hits", [])
    passage = inside[0]["fields"]["text"][0] if inside else hit["_source"]["doc"]
    words = " ".join(passage.removeprefix(hit["_id"]).split())
    return Text.assemble((f"{hit['_score']:.3f} ", "cyan"), (hit["_id"], "bold"), "\n", (words[:160], "dim"))


def _converse(es: "Elasticsearch", address: str) -> None:
    from rich.panel import Panel

    out.print(
        Panel(
            f"The gateway at {address} answers like Elasticsearch. Try:\n"
            f"  curl '{address}/{INDEX}/_search?pretty' -H 'content-type: application/json' \\\n"
            f"""    -d '{{"size": 3, "_source": "name", "query": {{"hybrid": {{"query": "flatten a list"}}}}}}'\n"""
            "Type a question; an empty line ends.",
            title="Your turn",
        ),
    )
    while True:
        try:
            question = out.input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            break
        if not question:
            break
        _ask(es, question, size=5)
