"""`esblend status`, `backfill`, `feed`."""

import time
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from esblend.cli.console import counted, err, out, print_json
from esblend.cli.gateway_client import INCOMPLETE, DataDir, Json, call, end, gateway, reason_of, whole_command
from mappings.command_options import IndexArgument

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

app = typer.Typer()


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(metavar="INDEX", help="Default: all attached indices.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until interrupted.")] = False,
    wait: Annotated[
        float | None,
        typer.Option("--wait", min=0, help="Seconds to wait until every document has its vectors."),
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show coverage, pending documents, dead letters, lag and speed.

    Exit code 4 when --wait ends before every document has its vectors; it ends early when only dead letters lack them.
    """
    from rich.live import Live

    from indexer.care.status_card import cards

    with gateway(data_dir) as es:
        deadline = time.monotonic() + (wait or 0)
        statuses = _read(es, name)
        if watch and not as_json:
            with Live(cards(statuses), console=out, refresh_per_second=4) as live:
                while True:
                    time.sleep(1)
                    live.update(cards(_read(es, name)))
        while wait is not None and not _is_covered(statuses) and _may_rise(statuses) and time.monotonic() < deadline:
            time.sleep(0.25)
            statuses = _read(es, name)
    if as_json:
        print_json(statuses[0] if name is not None else statuses)
    elif statuses:
        out.print(cards(statuses))
    else:
        out.print(
            f"No index is attached. Attach one: {whole_command('esblend attach INDEX --fields title,body', data_dir)}"
        )
    if wait is not None and not _is_covered(statuses):
        if letters := sum(status_of_index.get("dead_letters", 0) for status_of_index in statuses):
            command = whole_command(f"esblend dead-letters list{f' {name}' if name else ''}", data_dir)
            err.print(f"{counted(letters, 'document')} cannot be embedded: {command}", style="yellow", soft_wrap=True)
        raise typer.Exit(INCOMPLETE)


def _read(es: "Elasticsearch", name: str | None) -> list[dict[str, Any]]:
    if name is not None:
        return [call(es, "GET", f"/_esblend/indices/{quote(name, safe='')}/status")]
    from mappings.attachment import is_attached
    from mappings.builder import has_lost_attachment
    from mappings.index_lookup import ATTACHABLE_INDICES

    response = es.indices.get_mapping(index=ATTACHABLE_INDICES, expand_wildcards=["open", "closed", "hidden"])
    mappings = {index: body["mappings"] for index, body in response.items()}
    attached = [index for index, mapping in mappings.items() if is_attached(mapping) or has_lost_attachment(mapping)]
    return [_read_one(es, index) for index in sorted(attached)]


def _read_one(es: "Elasticsearch", name: str) -> dict[str, Any]:
    """One of several statuses. An index that is closed, lacks a primary shard or lost its attachment does not hide the others."""
    from elasticsearch import ApiError

    try:
        return call(es, "GET", f"/_esblend/indices/{quote(name, safe='')}/status")
    except ApiError as error:
        return {"index": name, "error": reason_of(error)}


def _may_rise(statuses: list[dict[str, Any]]) -> bool:
    """Whether waiting may help: dead letters get no vectors by themselves."""
    return any(status_of_index.get("pending", 1) for status_of_index in statuses)


def _is_covered(statuses: list[dict[str, Any]]) -> bool:
    return all(status_of_index.get("coverage", 0) >= 1 for status_of_index in statuses)


@app.command()
def backfill(
    name: IndexArgument,
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
        end("Use either --pause or --resume.")
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
    time_left = (
        f", about {progress['seconds_left']:.0f} s" if progress["remaining"] and progress["seconds_left"] else ""
    )
    state = "paused" if progress["paused"] else "running" if progress["remaining"] else "done"
    out.print(f"{state}: {progress['remaining']} changes left{time_left}{limit}")


@app.command()
def feed() -> None:
    """Run the change feed, which finds changes in attached indices and sends tasks to the workers."""
    import asyncio

    from esblend.settings import Settings
    from indexer.feed.process import run_feed

    asyncio.run(run_feed(Settings()))
