"""`esblend verify`."""

import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from esblend.cli.console import counted, err, out, print_json, table
from esblend.cli.gateway_client import FAILED, INCOMPLETE, DataDir, Json, call, gateway, process_settings, whole_command
from esblend.errors import ModelError
from mappings.command_options import IndexArgument
from mappings.index_state import require_open
from mappings.stored_vectors import remove_generations

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from indexer.care.verify import Report, StoredDocument
    from mappings.attachment import Attachment

app = typer.Typer()
_REPAIR_BATCH = 200
_REPAIR_SECONDS = 600


@app.command()
def verify(
    name: IndexArgument,
    sample: Annotated[int, typer.Option(min=0, help="The number of random documents to embed again and compare.")] = 50,
    repair: Annotated[
        bool, typer.Option("--repair", help="Embed faulty documents again, remove orphaned vectors, and wait for it.")
    ] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Read every document and check its vectors: missing, stale, orphaned, of a wrong shape, or of another text.

    Exit code 0 when the index is clean (dead letters are counted, but are not faults), 1 when it is not, 4 when a repair did not
    finish in time. Documents written moments ago may count as missing or stale.
    """
    from indexer.care.verify import Report, read_letters
    from mappings.attachment import Attachment
    from mappings.dead_letter_index import DEAD_LETTERS_INDEX

    with gateway(data_dir) as es:
        response = call(es, "GET", f"/_esblend/indices/{quote(name, safe='')}")
        index, attachment = response["index"], Attachment.model_validate(response["attachment"])
        settings = es.indices.get_settings(index=index, flat_settings=True)[index]["settings"]
        require_open(index, settings)
        uuid = settings["index.uuid"]
        letters = read_letters(es, index, uuid)
        report = Report(index, orphaned_letters=len(letters.orphans), with_letters=letters.documents)
        orphaned: set[str] = set()
        _compare(_read(es, index, attachment, report, sample, orphaned), attachment, report)
        _show(report, as_json=as_json)
        if report.is_clean:
            return
        if not repair:
            if not as_json:
                err.print(f"`{whole_command(f'esblend verify {index} --repair', data_dir)}` repairs them.")
            raise typer.Exit(FAILED)
        for letter in letters.orphans:
            es.options(ignore_status=404).delete(index=DEAD_LETTERS_INDEX, id=letter, refresh=True)
        if orphaned and attachment.versioning == "internal":
            with err.status("Removing orphaned vectors"):
                ids = sorted({finding.document.id for finding in report.findings if finding.fault == "orphaned"})
                for start in range(0, len(ids), _REPAIR_BATCH):
                    documents = {"ids": {"values": ids[start : start + _REPAIR_BATCH]}}
                    remove_generations(es, index, attachment.field, sorted(orphaned), documents)
        if not _repair(report, uuid, attachment, data_dir):
            raise typer.Exit(INCOMPLETE)


def _read(
    es: "Elasticsearch", index: str, attachment: "Attachment", report: "Report", size: int, orphaned: set[str]
) -> "list[StoredDocument]":
    """Examine all documents and collect the names of orphaned generations.

    Returns a sample of the embedded documents (reservoir sampling: Vitter 1985, algorithm R).
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from esblend.elasticsearch_connection import keeps_vectors_back
    from indexer.care.verify import examine, orphaned_generations, read_all

    total = es.count(index=index)["count"]
    chosen: list[StoredDocument] = []
    seen = 0
    columns = (TextColumn("Reading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        for held in progress.track(read_all(es, index, keeps_vectors_back=keeps_vectors_back(es)), total=total):
            orphaned.update(orphaned_generations(held.source, attachment))
            if not examine(held, attachment, report):
                continue
            seen += 1
            if len(chosen) < size:
                chosen.append(held)
            elif (position := random.randrange(seen)) < size:
                chosen[position] = held
    return chosen


def _compare(sample: "list[StoredDocument]", attachment: "Attachment", report: "Report") -> None:
    if not sample:
        return
    from esblend.encoder.registry import Encoders
    from esblend.settings import Settings
    from indexer.care.verify import compare

    model = attachment.generation.model
    try:
        encoder = Encoders(Settings(), "documents").matching(model.name, model.digest, model.probe)
    except ModelError as error:
        err.print(f"No vectors were recomputed: {error.reason}", style="yellow")
        return
    with err.status(f"Computing the vectors of {counted(len(sample), 'document')}"):
        compare(sample, encoder, attachment, report)


def _show(report: "Report", *, as_json: bool) -> None:
    from rich.text import Text

    from indexer.care.verify import FAULTS

    shown = report.to_json()
    if as_json:
        print_json(shown)
        return
    meanings = FAULTS | {"orphaned_letters": "dead letters without a document"}
    faults = {fault: count for fault, count in shown["faults"].items() if count}
    if faults:
        faults_table = table("fault", "documents", "for example", figures=("documents",))
        for fault, count in faults.items():
            faults_table.add_row(
                meanings[fault], Text(str(count), style="red"), ", ".join(shown["examples"].get(fault, []))
            )
        out.print(faults_table)
    out.print(
        f"{report.index}: {counted(report.documents, 'document')}, {report.embedded} embedded ({report.recomputed} recomputed), "
        f"{report.adopted} adopted, "
        f"{report.without_text} without text, {counted(report.dead_letters, 'dead letter')}, {report.dropped} dropped.",
    )
    out.print("Clean." if report.is_clean else "Not clean.", style="green" if report.is_clean else "red")


def _repair(report: "Report", uuid: str, attachment: "Attachment", data_dir: Path | None) -> bool:
    """Queue each faulty document once, and wait; true when all finished in time.

    Orphans in an index with external versions are queued as well: only a worker may write there without a new version.
    """
    from celery.exceptions import TimeoutError as CeleryTimeout
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from esblend.broker import EmbedTask
    from indexer.care.verify import FAULTS
    from indexer.feed.task_queue import TaskQueue

    is_queued = [fault for fault in FAULTS if fault != "orphaned" or attachment.versioning == "external"]
    findings = [finding for finding in report.findings if finding.fault in is_queued]
    documents = list(
        {(finding.document.id, finding.document.routing): finding.document for finding in findings}.values()
    )
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
    err.print(f"{counted(len(documents), 'document')} queued, {'done' if is_done else 'not finished yet'}.")
    return is_done
