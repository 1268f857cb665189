"""`esblend verify`."""

import random
import time
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from celery.exceptions import TimeoutError as CeleryTimeout
from elasticsearch import Elasticsearch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from esblend.broker import EmbedTask
from esblend.cli.console import err, out, print_json
from esblend.cli.gateway_client import FAILED, INCOMPLETE, DataDir, Json, call, gateway, process_settings
from esblend.elasticsearch_connection import keeps_vectors_back
from esblend.errors import ModelError
from esblend.settings import Settings
from indexer.care.verify import FAULTS, Held, Report, compare, count_orphaned_letters, examine, read_all
from mappings.attachment import Attachment
from mappings.dead_letter_index import DEAD_LETTERS_INDEX

app = typer.Typer()
_REPAIR_BATCH = 200
_REPAIR_SECONDS = 600


@app.command()
def verify(
    name: Annotated[str, typer.Argument(metavar="INDEX", help="An attached index.")],
    sample: Annotated[
        int, typer.Option(min=0, help="So many documents, drawn at random, are embedded again and compared.")
    ] = 50,
    repair: Annotated[
        bool, typer.Option("--repair", help="Queue what is at fault, and wait until it is done.")
    ] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Read every document and check its vectors: missing, stale, orphaned, of a wrong shape, or not the text's.

    Exit code 0 when all is well (dead letters are told, and no fault), 1 when something is at fault, 4 when a repair
    was queued and not done in time. What was written a moment ago and is still pending counts as missing or stale.
    """
    with gateway(data_dir) as es:
        answer = call(es, "GET", f"/_esblend/indices/{quote(name, safe='')}")
        index, attachment = answer["index"], Attachment.model_validate(answer["attachment"])
        uuid = es.indices.get_settings(index=index, flat_settings=True)[index]["settings"]["index.uuid"]
        report = Report(index)
        kept_sample = _read(es, index, attachment, report, sample)
        _compare(kept_sample, attachment, report)
        orphans = count_orphaned_letters(es, index, uuid)
        report.orphaned_letters = len(orphans)
        _show(report, as_json=as_json)
        if report.is_clean:
            return
        if not repair:
            if not as_json:
                err.print(f"`esblend verify {index} --repair` embeds them again.", highlight=False)
            raise typer.Exit(FAILED)
        for letter in orphans:
            es.options(ignore_status=404).delete(index=DEAD_LETTERS_INDEX, id=letter, refresh=True)
        if not _repair(report, uuid, attachment, data_dir):
            raise typer.Exit(INCOMPLETE)


def _read(es: Elasticsearch, index: str, attachment: Attachment, report: Report, size: int) -> list[Held]:
    """Examine all documents; gives a sample of those that are embedded (reservoir sampling: Vitter 1985, algorithm R)."""
    total = es.count(index=index)["count"]
    chosen: list[Held] = []
    seen = 0
    columns = (TextColumn("Reading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        for held in progress.track(read_all(es, index, keeps_vectors_back=keeps_vectors_back(es)), total=total):
            if not examine(held, attachment, report):
                continue
            seen += 1
            if len(chosen) < size:
                chosen.append(held)
            elif (place := random.randrange(seen)) < size:
                chosen[place] = held
    return chosen


def _compare(sample: list[Held], attachment: Attachment, report: Report) -> None:
    if not sample:
        return
    from esblend.encoder.registry import Encoders

    model = attachment.generation.model
    try:
        encoder = Encoders(Settings(), "documents").matching(model.name, model.digest)
    except ModelError as error:
        err.print(f"No vectors were computed again: {error.reason}", style="yellow", markup=False, highlight=False)
        return
    with err.status(f"Computing {len(sample)} documents' vectors again"):
        compare(sample, encoder, attachment, report)


def _show(report: Report, *, as_json: bool) -> None:
    found = report.to_json()
    if as_json:
        print_json(found)
        return
    table = Table("fault", "documents", "for example", title=f"{report.index}: {report.documents} documents")
    meanings = FAULTS | {"orphaned_letters": "dead letters without a document"}
    for fault, count in found["faults"].items():
        colour = "red" if count else "green"
        table.add_row(meanings[fault], f"[{colour}]{count}[/]", ", ".join(found["examples"].get(fault, [])))
    out.print(table)
    out.print(
        f"{report.embedded} embedded ({report.recomputed} computed again), {report.without_text} without text, "
        f"{report.dead_letters} dead letters, {report.dropped} dropped.",
        highlight=False,
    )
    out.print("[green]Clean.[/]" if report.is_clean else "[red]Not clean.[/]")


def _repair(report: Report, uuid: str, attachment: Attachment, data_dir: Path | None) -> bool:
    """Queue the documents at fault, each once; true when all was done in time."""
    from indexer.feed.task_queue import TaskQueue

    documents = list({finding.document.id: finding.document for finding in report.findings}.values())
    queue = TaskQueue(process_settings(data_dir))
    deadline = time.monotonic() + _REPAIR_SECONDS
    tasks: list[Any] = []
    for start in range(0, len(documents), _REPAIR_BATCH):
        part = documents[start : start + _REPAIR_BATCH]
        message = EmbedTask(index=report.index, uuid=uuid, generation=attachment.active, documents=part, action="renew")
        tasks.append((queue.send("live", message), len(part)))
    is_done = True
    try:
        with Progress(
            TextColumn("Repairing"), BarColumn(), MofNCompleteColumn(), console=err, transient=True
        ) as progress:
            bar = progress.add_task("", total=len(documents))
            for task, count in tasks:
                queue.wait(task, seconds=max(1.0, deadline - time.monotonic()))
                progress.advance(bar, count)
    except CeleryTimeout:
        is_done = False
    finally:
        queue.close()
    err.print(f"{len(documents)} queued, {'done' if is_done else 'not done yet'}.", highlight=False)
    return is_done
