"""`esblend migrate`: a new model or passage setting grows beside the old one, is measured, takes over, and can be taken back."""

import time
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from elasticsearch import Elasticsearch

from esblend.cli.console import count_progress, err, out, print_json
from esblend.cli.gateway_client import FAILED, INCOMPLETE, USAGE, DataDir, Json, call, gateway, whole_path
from mappings.command_options import (
    Dims,
    EfConstruction,
    ElementType,
    M,
    MaxTokens,
    OverlapTokens,
    Oversample,
    QueryModel,
    VectorType,
    given,
)

app = typer.Typer()
_POLL_SECONDS = 0.5
_SETTLE_SECONDS = 3.0
"""Every gateway sees a switch within a second or two; until then it searches the old vectors."""
_DROPS = 5


@app.command()
def migrate(
    index: Annotated[str, typer.Argument(help="An attached index.")],
    model: Annotated[
        str | None,
        typer.Option(callback=whole_path, help="The new model: a folder, a hub name, or openai:..., tei:..."),
    ] = None,
    query_model: QueryModel = None,
    max_tokens: MaxTokens = None,
    overlap_tokens: OverlapTokens = None,
    vector_type: VectorType = None,
    m: M = None,
    ef_construction: EfConstruction = None,
    element_type: ElementType = None,
    oversample: Oversample = None,
    dims: Dims = None,
    queries: Annotated[Path | None, typer.Option(help="Measure both on these queries before the switch.")] = None,
    qrels: Annotated[Path | None, typer.Option(help="Their judgements, or a CSV with both.")] = None,
    switch: Annotated[
        bool, typer.Option("--switch/--no-switch", help="Let searches use it once it is covered.")
    ] = True,
    drop_old: Annotated[bool, typer.Option("--drop-old", help="Then take the old vectors away; no way back.")] = False,
    roll_back: Annotated[
        bool, typer.Option("--roll-back", help="Let searches use the other generation again, at once.")
    ] = False,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for it to be covered.")] = 86_400,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Bring an index to another model or passage setting, without downtime.

    Searches use the old vectors until every document has the new ones; then one change of the mapping switches. Killed at
    any point, the same command goes on. With --qrels it switches only if the new one is not significantly worse.
    Exit code 4 when it was not covered in time, 1 when it was not switched because it is worse.
    """
    passages = given(max_tokens=max_tokens, overlap_tokens=overlap_tokens)
    vector = given(
        type=vector_type,
        m=m,
        ef_construction=ef_construction,
        element_type=element_type,
        oversample=oversample,
        dims=dims,
    )
    is_change = bool(model or query_model or passages or vector)
    path = f"/_esblend/indices/{quote(index, safe='')}/generations"
    with gateway(data_dir) as es:
        if roll_back or (drop_old and not is_change):
            done = _roll_back(es, path) if roll_back else _drop_others(es, path)
            _tell(done, as_json=as_json)
            return
        body = _wanted({"model": model, "query_model": query_model, "passages": passages, "vector": vector})
        added = call(es.options(request_timeout=300), "POST", path, body)
        new, old = added["generation"], added["attachment"]["active"]
        done = {"index": added["index"], "generation": new, "before": old, "switched": new == old}
        if not _covered(es, path, new, wait):
            _tell({**done, "covered": False}, as_json=as_json)
            raise typer.Exit(INCOMPLETE)
        if qrels is not None and new != old:
            done |= _measured(es, added["index"], (old, new), qrels, queries)
        is_worse = done.get("significantly_worse", False)
        if switch and not is_worse and new != old:
            call(es, "POST", f"{path}/{new}/_activate")
            done["switched"] = True
        if drop_old and done["switched"]:
            time.sleep(_SETTLE_SECONDS)
            done |= _drop_others(es, path)
    _tell({**done, "covered": True}, as_json=as_json)
    if is_worse:
        raise typer.Exit(FAILED)


def _wanted(body: dict[str, Any]) -> dict[str, Any]:
    """What was said of it."""
    found = {key: value for key, value in body.items() if value}
    if not found:
        err.print("Say what shall change: --model, --max-tokens, --vector-type, ...", style="red")
        raise typer.Exit(USAGE)
    return found


def _covered(es: Elasticsearch, path: str, generation: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    with count_progress() as progress:
        task = progress.add_task(f"Embedding {generation}", total=None)
        while True:
            found = call(es, "GET", path)["generations"][generation]
            progress.update(task, completed=found["documents"], total=found["documents"] + found["missing"])
            if not found["missing"]:
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)


def _measured(
    es: Elasticsearch, index: str, generations: tuple[str, str], qrels: Path, queries: Path | None
) -> dict[str, Any]:
    """The blend by each generation, and whether the new one is significantly worse."""
    from query.lab.judged import read_judgements
    from query.lab.measuring import MAIN, compare, mean_of, per_query
    from query.lab.searching import run_system
    from query.lab.systems import hybrid

    judged = read_judgements(qrels, queries)
    old, new = generations
    with err.status(f"Measuring both with {len(judged.queries)} queries"):
        values = {
            one: per_query(run_system(es, index, hybrid(one, generation=one), judged), judged, [MAIN])[MAIN]
            for one in generations
        }
    difference = compare(values, old)[new]
    return {
        MAIN: {one: round(mean_of(values[one]).mean, 4) for one in generations},
        "gain": round(difference.gain.mean, 4),
        "p_value": difference.p_value,
        "significantly_worse": difference.is_significant and difference.gain.mean < 0,
    }


def _roll_back(es: Elasticsearch, path: str) -> dict[str, Any]:
    found = call(es, "GET", path)
    others = [name for name, one in found["generations"].items() if not one["active"]]
    if not others:
        err.print("There is no other generation to go back to.", style="red")
        raise typer.Exit(FAILED)
    call(es, "POST", f"{path}/{others[0]}/_activate")
    return {"index": found["index"], "generation": others[0], "switched": True}


def _drop_others(es: Elasticsearch, path: str) -> dict[str, Any]:
    """Drop what is not active, and wait until its vectors are out of the documents."""
    dropped = []
    for name, one in call(es, "GET", path)["generations"].items():
        if one["active"]:
            continue
        with err.status(f"Taking the vectors of {name} out of the documents"):
            # A task that was under way when the generation was dropped may still have written some.
            for _ in range(_DROPS):
                task = call(es, "DELETE", f"{path}/{name}")["task"]
                while task and not es.tasks.get(task_id=task)["completed"]:
                    time.sleep(_POLL_SECONDS)
                if not task or not es.tasks.get(task_id=task)["response"]["updated"]:
                    break
        dropped.append(name)
    return {"dropped": dropped}


def _tell(done: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(done)
        return
    if "nDCG@10" in done:
        figures = ", ".join(f"{name} {value:.4f}" for name, value in done["nDCG@10"].items())
        out.print(f"nDCG@10: {figures} (gain {done['gain']:+.4f}, p {done['p_value']:.3f})", highlight=False)
    if not done.get("covered", True):
        out.print("Not covered yet; the same command goes on waiting.", style="yellow")
    elif done.get("significantly_worse"):
        out.print("Not switched: the new generation is significantly worse.", style="yellow")
    elif done.get("switched"):
        out.print(
            f"[green]Searches use {done['generation']}.[/] `--roll-back` takes it back, `--drop-old` ends the old one."
        )
    if done.get("dropped"):
        out.print(f"Dropped {', '.join(done['dropped'])}.", highlight=False)
