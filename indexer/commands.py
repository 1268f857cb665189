"""`esblend index`, `status`, `feed`."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from elasticsearch import Elasticsearch
from elasticsearch.helpers import streaming_bulk
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from esblend.cli.console import err, out, print_json
from esblend.cli.gateway_client import FAILED, INCOMPLETE, USAGE, DataDir, Json, call, gateway
from esblend.settings import Settings
from indexer.care.status_card import cards
from indexer.files.readers import Unreadable, read_documents, total_bytes

app = typer.Typer()
_SHOWN_ERRORS = 10


@app.command()
def index(
    name: Annotated[
        str, typer.Argument(metavar="INDEX", help="The index to write to; Elasticsearch creates it if it is missing.")
    ],
    files: Annotated[list[Path], typer.Argument(help="JSONL, CSV or TSV files, text or Markdown, or folders of them.")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Write documents from files into an index.

    JSONL: one object a line; `_id` (or `id`) names the document. CSV: a header, then rows. Text and Markdown:
    one document a file, with title, body and path. If the index is attached, esblend embeds them.
    """
    errors: list[str] = []
    with gateway(data_dir) as es:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=err, transient=True) as progress:
            task = progress.add_task(f"Indexing into {name}", total=total_bytes(files))
            actions = _actions(files, lambda count: progress.advance(task, count), errors)
            written = _write(es, name, actions, errors)
        es.indices.refresh(index=name, ignore_unavailable=True)
    if as_json:
        print_json({"index": name, "indexed": written, "failed": len(errors), "errors": errors[:_SHOWN_ERRORS]})
    else:
        out.print(f"Indexed {written} documents into {name}.", highlight=False)
        for line in errors[:_SHOWN_ERRORS]:
            err.print(line, style="red", markup=False, highlight=False)
        if errors:
            err.print(f"{len(errors)} could not be indexed.", style="red")
    if errors:
        raise typer.Exit(FAILED)


def _actions(files: list[Path], advance: Any, errors: list[str]) -> Iterator[dict[str, Any]]:
    for document in read_documents(files, advance):
        if isinstance(document, Unreadable):
            errors.append(f"{document.where}: {document.reason}")
            continue
        yield {"_source": document.source, **({"_id": document.id} if document.id is not None else {})}


def _write(es: Elasticsearch, name: str, actions: Iterator[dict[str, Any]], errors: list[str]) -> int:
    written = 0
    for is_written, item in streaming_bulk(
        es, actions, index=name, chunk_size=500, max_retries=8, initial_backoff=0.5, raise_on_error=False
    ):
        if is_written:
            written += 1
        else:
            [(_, result)] = item.items()
            error = result.get("error") or {}
            reason = error.get("reason", error) if isinstance(error, dict) else error
            errors.append(f"document {result.get('_id')}: {reason}")
    return written


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(metavar="[INDEX]", help="Default: all attached indices.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until interrupted.")] = False,
    wait: Annotated[
        float | None,
        typer.Option("--wait", min=0, help="Seconds to wait until every document has its vectors."),
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show coverage, pending documents, dead letters, lag and speed.

    Exit code 4 when --wait ends before every document has its vectors.
    """
    with gateway(data_dir) as es:
        deadline = time.monotonic() + (wait or 0)
        statuses = _read(es, name)
        if watch and not as_json:
            with Live(cards(statuses), console=out, refresh_per_second=4) as live:
                while True:
                    time.sleep(1)
                    live.update(cards(_read(es, name)))
        while wait is not None and not _is_covered(statuses) and time.monotonic() < deadline:
            time.sleep(0.25)
            statuses = _read(es, name)
    if as_json:
        print_json(statuses[0] if name is not None else statuses)
    elif statuses:
        out.print(cards(statuses))
    else:
        out.print("No index is attached. Attach one: esblend attach INDEX --fields title,body", highlight=False)
    if wait is not None and not _is_covered(statuses):
        raise typer.Exit(INCOMPLETE)


def _read(es: Elasticsearch, name: str | None) -> list[dict[str, Any]]:
    if name is not None:
        return [call(es, "GET", f"/_esblend/indices/{quote(name, safe='')}/status")]
    mappings = es.indices.get_mapping(index="*", filter_path="*.mappings._meta.esblend.active")
    return [
        call(es, "GET", f"/_esblend/indices/{quote(index_name, safe='')}/status")
        for index_name in sorted(mappings.body)
    ]


def _is_covered(statuses: list[dict[str, Any]]) -> bool:
    return all(status_of_index["coverage"] >= 1 for status_of_index in statuses)


@app.command()
def backfill(
    name: Annotated[str, typer.Argument(metavar="INDEX", help="An attached index.")],
    pause: Annotated[bool, typer.Option("--pause", help="Pause the backfill; live changes continue.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a paused backfill.")] = False,
    rate: Annotated[
        float | None, typer.Option(min=0, help="Documents per second at most; 0 removes the limit.")
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show, pause, resume or limit the backfill, which embeds documents from before the attachment."""
    if pause and resume:
        err.print("Use either --pause or --resume.", style="red")
        raise typer.Exit(USAGE)
    changes: dict[str, Any] = {"paused": pause} if pause or resume else {}
    if rate is not None:
        changes["documents_per_second"] = rate or None
    path = f"/_esblend/indices/{quote(name, safe='')}"
    with gateway(data_dir) as es:
        if changes:
            call(es, "POST", f"{path}/backfill", changes)
        progress = call(es, "GET", f"{path}/status")["backfill"]
    if as_json:
        print_json(progress)
        return
    limit = (
        f", at most {progress['documents_per_second']:g} documents per second"
        if progress["documents_per_second"]
        else ""
    )
    left = f", about {progress['seconds_left']:.0f} s" if progress["remaining"] and progress["seconds_left"] else ""
    state = "done" if not progress["remaining"] else "paused" if progress["paused"] else "running"
    out.print(f"{state}: {progress['remaining']} changes left{left}{limit}", highlight=False)


@app.command()
def feed() -> None:
    """Run the change feed, which finds changes in attached indices and sends tasks to the workers."""
    from indexer.feed.process import run_feed

    asyncio.run(run_feed(Settings()))
