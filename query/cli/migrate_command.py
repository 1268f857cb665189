"""`esblend migrate`: adds a generation with a new model or passage setting, measures it, switches searches to it, or rolls back."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from esblend.cli.console import count_progress, err, out, print_json
from esblend.cli.gateway_client import FAILED, INCOMPLETE, INTERRUPTED, DataDir, Json, call, end, gateway, whole_path
from mappings.command_options import IndexArgument, VectorSettings, with_vector_settings
from mappings.stored_vectors import generations_in, holding, remove_generations

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

app = typer.Typer()
_POLL_SECONDS = 0.5
_SETTLE_SECONDS = 3.0
"""Every gateway sees a switch within two seconds; until then it searches the old vectors."""


@app.command()
@with_vector_settings
def migrate(
    index: IndexArgument,
    settings: VectorSettings,
    model: Annotated[
        str | None,
        typer.Option(callback=whole_path, help="The new model: a folder, a hub name, or openai:..., tei:..."),
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help="Measure both generations with these queries before the switch.")
    ] = None,
    qrels: Annotated[Path | None, typer.Option(help="Judgements of the queries, or a CSV with both.")] = None,
    switch: Annotated[
        bool, typer.Option("--switch/--no-switch", help="Switch searches once every document has new vectors.")
    ] = True,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="Afterwards remove the old vectors; a roll-back is then impossible.")
    ] = False,
    roll_back: Annotated[
        bool, typer.Option("--roll-back", help="Switch searches back to the other generation at once.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="With --drop-old after a roll-back: drop the newer generation without asking.")
    ] = False,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait until every document has new vectors.")] = 86_400,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Change the model, passage setting or vector type of an index without downtime.

    Searches use the old vectors until every document has the new ones; then one change of the mapping switches. If the
    command is interrupted, run it again: it continues. With --qrels it switches only if the new generation is not
    significantly worse. Exit code 4: vectors are still missing after --wait; 1: not switched because the new generation is worse.
    """
    from query.lab.judgements import read_judgements

    changes = {
        "model": model, "query_model": settings.query_model, "passages": settings.passages, "vector": settings.vector
    }  # fmt: skip
    body = {key: value for key, value in changes.items() if value}
    path = f"/_esblend/indices/{quote(index, safe='')}/generations"
    with gateway(data_dir) as es, _saying_what_remains(index):
        if roll_back or (drop_old and not body):
            if not roll_back and not yes:
                _confirm_newer(es, path)
            _report(_roll_back(es, path) if roll_back else _drop_others(es, path), as_json=as_json)
            return
        if qrels is not None:
            read_judgements(qrels, queries)  # a file that cannot be read ends the command before it changes anything
        if not body:
            end("Name at least one change: --model, --max-tokens, --vector-type, ...")
        added = call(es.options(request_timeout=300), "POST", path, body)
        new, old = added["generation"], added["attachment"]["active"]
        outcome = {"index": added["index"], "generation": new, "before": old, "switched": new == old}
        outcome["covered"] = _wait_for_coverage(es, path, new, wait)
        if outcome["covered"]:
            outcome |= _measure_and_switch(es, path, outcome, qrels, queries, switch=switch)
            if drop_old and outcome["switched"]:
                time.sleep(_SETTLE_SECONDS)
                outcome |= _drop_others(es, path)
    _report(outcome, as_json=as_json)
    if not outcome["covered"]:
        raise typer.Exit(INCOMPLETE)
    if outcome.get("significantly_worse"):
        raise typer.Exit(FAILED)


@contextmanager
def _saying_what_remains(index: str) -> Iterator[None]:
    """After Ctrl-C, print the state in which the command leaves the index."""
    try:
        yield
    except KeyboardInterrupt:
        text = f"Interrupted. Embedding continues, and searches of {index} use the old vectors until the same command runs again."
        err.print(text, style="yellow")
        raise typer.Exit(INTERRUPTED) from None


def _confirm_newer(es: "Elasticsearch", path: str) -> None:
    """Ask before a generation newer than the active one is dropped: after a roll-back, --drop-old may mean the other one."""
    generations = call(es, "GET", path)["generations"]
    numbers = {name: int(name.removeprefix("g")) for name in generations}
    active = next(name for name, generation in generations.items() if generation["active"])
    newer = [f"{name} ({generations[name]['model']})" for name in generations if numbers[name] > numbers[active]]
    if not newer:
        return
    text = f"{', '.join(newer)} is newer than {active}, which searches use."
    if not sys.stdin.isatty():
        end(f"{text} Add --yes to drop it.")
    if not typer.confirm(f"{text} Drop it?"):
        raise typer.Exit(FAILED)


def _measure_and_switch(
    es: "Elasticsearch", path: str, outcome: dict[str, Any], qrels: Path | None, queries: Path | None, *, switch: bool
) -> dict[str, Any]:
    """Figures of both generations, if there are judgements, and `switched`: whether searches now use the new one."""
    new, old = outcome["generation"], outcome["before"]
    if new == old:
        return {}
    measured = _measure(es, outcome["index"], (old, new), qrels, queries) if qrels is not None else {}
    is_better = not measured.get("significantly_worse", False)
    if switch and is_better:
        call(es, "POST", f"{path}/{new}/_activate")
    return {**measured, "switched": switch and is_better}


def _wait_for_coverage(es: "Elasticsearch", path: str, generation: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    with count_progress() as progress:
        task = progress.add_task(f"Embedding {generation}", total=None)
        while True:
            counts = call(es, "GET", path)["generations"][generation]
            progress.update(task, completed=counts["documents"], total=counts["documents"] + counts["missing"])
            if not counts["missing"]:
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)


def _measure(
    es: "Elasticsearch", index: str, generations: tuple[str, str], qrels: Path, queries: Path | None
) -> dict[str, Any]:
    """nDCG of the blend with each generation, and whether the new one is significantly worse."""
    from query.lab.batch_searches import run_system
    from query.lab.judgements import read_judgements
    from query.lab.measures import MAIN, compare, mean_of, per_query
    from query.lab.systems import hybrid

    judged = read_judgements(qrels, queries)
    old, new = generations
    with err.status(f"Measuring both with {len(judged.queries)} queries"):
        values = {
            name: per_query(run_system(es, index, hybrid(name, generation=name), judged), judged, [MAIN])[MAIN]
            for name in generations
        }
    difference = compare(values, old)[new]
    return {
        MAIN: {name: round(mean_of(values[name]).mean, 4) for name in generations},
        "gain": round(difference.gain.mean, 4),
        "p_value": difference.p_value,
        "significantly_worse": difference.is_significant and difference.gain.mean < 0,
    }


def _roll_back(es: "Elasticsearch", path: str) -> dict[str, Any]:
    described = call(es, "GET", path)
    others = [name for name, generation in described["generations"].items() if not generation["active"]]
    if not others:
        end("The index has only one generation, so it cannot be rolled back.", FAILED)
    call(es, "POST", f"{path}/{others[0]}/_activate")
    active = next(name for name in described["generations"] if name not in others)
    return {"index": described["index"], "generation": others[0], "before": active, "switched": True}


def _drop_others(es: "Elasticsearch", path: str) -> dict[str, Any]:
    """Drop the inactive generation, and remove its vectors, and vectors of earlier attachments, from the documents."""
    described = call(es, "GET", path)
    dropped = [name for name, generation in described["generations"].items() if not generation["active"]]
    for name in dropped:
        call(es, "DELETE", f"{path}/{name}")
    attachment = call(es, "GET", path.removesuffix("/generations"))["attachment"]
    if attachment.get("versioning") == "external":
        return {"dropped": dropped}
    index, field = described["index"], attachment["field"]
    stored = generations_in(es.indices.get_mapping(index=index)[index]["mappings"], field)
    orphaned = sorted(stored - set(attachment["generations"]))
    with err.status(f"Removing the vectors of {', '.join(orphaned)} from the documents"):
        remove_generations(es, index, field, orphaned, holding(field, orphaned))
    return {"dropped": dropped}


def _report(outcome: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(outcome)
        return
    if "nDCG@10" in outcome:
        figures = ", ".join(f"{name} {value:.4f}" for name, value in outcome["nDCG@10"].items())
        out.print(f"nDCG@10: {figures} (gain {outcome['gain']:+.4f}, p {outcome['p_value']:.3f})")
    if not outcome.get("covered", True):
        out.print("Some documents have no new vectors yet; run the same command again to continue.", style="yellow")
    elif outcome.get("significantly_worse"):
        out.print("Not switched: the new generation is significantly worse.", style="yellow")
    elif outcome.get("before") == outcome.get("generation") and "before" in outcome:
        out.print(
            f"The index already uses this model and these settings ({outcome['generation']}); nothing was changed."
        )
    elif outcome.get("switched"):
        out.print(f"Searches use {outcome['generation']}.", style="green", end=" ")
        out.print(f"`--roll-back` switches back, `--drop-old` removes {outcome['before']}.")
    if outcome.get("dropped"):
        out.print(f"Dropped {', '.join(outcome['dropped'])}.")
