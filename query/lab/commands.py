"""`esblend eval`, `tune`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from elasticsearch import Elasticsearch

from esblend.cli.console import count_progress, err, out, print_json
from esblend.cli.gateway_client import FAILED, USAGE, DataDir, Json, call, gateway
from query.lab.judged import Judged, from_titles, read_beir, read_judgements, write_qrels

app = typer.Typer()
Queries = Annotated[Path | None, typer.Option(help="JSONL with _id and text, or id and text separated by a tab.")]
Qrels = Annotated[
    Path | None, typer.Option(help="Judgements: TREC or BEIR qrels, or a CSV with query, document, grade (or clicks).")
]
Split = Annotated[str, typer.Option(help="Of a BEIR folder: which qrels.")]
Sample = Annotated[int | None, typer.Option(min=1, help="So many queries only, the first ones.")]


@app.command("eval")
def evaluate(
    target: Annotated[str, typer.Argument(metavar="INDEX", help="An attached index, or a folder in BEIR's layout.")],
    queries: Queries = None,
    qrels: Qrels = None,
    split: Split = "test",
    titles: Annotated[
        str | None,
        typer.Option(
            "--from-titles", help="No judgements? Take this field's texts as queries for their own documents."
        ),
    ] = None,
    sample: Sample = None,
    rerank: Annotated[bool, typer.Option("--rerank", help="Also with the gateway's cross-encoder.")] = False,
    generation: Annotated[str | None, typer.Option(help="A generation that is not the active one.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a report with plots to this file.")] = None,
    runs: Annotated[Path | None, typer.Option(help="Write TREC run files and qrels to this folder.")] = None,
    compare_run: Annotated[
        list[Path] | None, typer.Option("--run", help="A TREC run file to show beside. May be repeated.")
    ] = None,
    keep: Annotated[
        str | None, typer.Option(help="Of a BEIR folder: keep its index under this name for the next time.")
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Measure BM25, kNN and the blends side by side with your own judgements.

    nDCG@10, MRR@10, recall and MAP with significance against BM25, latency, and the queries won and lost.
    """
    from query.lab.evaluation import evaluate as measure
    from query.lab.evaluation import to_json
    from query.lab.report import table, write_html
    from query.lab.systems import standard_systems

    with gateway(data_dir) as es, _target(es, target, keep) as index:
        judged = _judged(es, target, index, queries, qrels, split, titles, sample)
        more: dict[str, Any] = {"generation": generation} if generation else {}
        systems = standard_systems(rerank=rerank, more=more)
        with _bar("Searching", (len(systems) + 1) * len(judged.queries)) as advance:
            found = measure(es, index, judged, systems, more=more, advance=advance)
        for file in compare_run or []:
            found = _with_run(found, file)
    if html is not None:
        write_html(found, html)
    if runs is not None:
        _write_runs(found, judged, runs)
    if as_json:
        print_json(to_json(found))
        return
    out.print(table(found))
    if judged.is_weak:
        err.print("Weak judgements: made from the index or from clicks, not judged by people.", style="yellow")
    err.print(f"{found.seconds:.0f} s" + (f"; the report is in {html}" if html else ""), highlight=False)


@app.command()
def tune(
    target: Annotated[str, typer.Argument(metavar="INDEX", help="An attached index, or a folder in BEIR's layout.")],
    queries: Queries = None,
    qrels: Qrels = None,
    split: Split = "train",
    titles: Annotated[str | None, typer.Option("--from-titles", help="As in eval. Weak.")] = None,
    sample: Sample = None,
    folds: Annotated[int, typer.Option(min=2, max=20, help="Of the cross-validation.")] = 5,
    apply: Annotated[
        bool, typer.Option("--apply", help="Write what is recommended to the attachment's defaults.")
    ] = False,
    keep: Annotated[str | None, typer.Option(help="Of a BEIR folder: keep its index under this name.")] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Find weights, field boosts, normaliser, window and rank constant by cross-validation on your own judgements.

    Exit code 1 when nothing is recommended: the gain on queries held back is not significant.
    """
    from query.lab import tuning
    from query.lab.candidates import Blend, fetch_candidates

    with gateway(data_dir) as es, _target(es, target, keep) as index:
        judged = _judged(es, target, index, queries, qrels, split, titles, sample)
        if len(judged.queries) < 2 * folds:
            err.print(f"{len(judged.queries)} queries are too few for {folds} folds.", style="red")
            raise typer.Exit(USAGE)
        attachment = call(es, "GET", f"/_esblend/indices/{quote(index, safe='')}")["attachment"]
        defaults = attachment["defaults"]
        fields = tuple(defaults.get("fields") or attachment["source_fields"])
        choices = list(dict.fromkeys([fields, *tuning.field_choices(fields)]))
        window = max(tuning.WINDOWS)
        with _bar("Asking for scores", len(choices) * len(judged.queries)) as advance:
            candidates = {
                names: fetch_candidates(es, index, judged, window, {"fields": list(names)}, advance)
                for names in choices
            }
        present = tuning.Settings(
            fields,
            Blend(defaults.get("alpha", 0.7), defaults.get("fusion", "linear"), defaults.get("normalizer"), window),
        )
        with _bar("Trying settings", 1 + sum(1 for _ in tuning.grid(choices))) as advance:
            advice = tuning.tune(candidates, judged, present, folds=folds, advance=advance)
        if apply and advice.is_recommended:
            path = f"/_esblend/indices/{quote(index, safe='')}/defaults"
            call(es, "PUT", path, tuning.as_defaults(advice.settings))
    _show_advice(tuning.describe(advice), as_json=as_json, applied=apply and advice.is_recommended)
    if not advice.is_recommended:
        raise typer.Exit(FAILED)


def _show_advice(advice: dict[str, Any], *, as_json: bool, applied: bool) -> None:
    if as_json:
        print_json({**advice, "applied": applied})
        return
    now, gain = advice["nDCG@10"]["now"], advice["nDCG@10"]["held_back_gain"]
    low, high = advice["interval"]
    out.print(
        f"nDCG@10 now {now:.4f}; on queries held back {gain:+.4f} (95 % interval {low:+.4f} to {high:+.4f}, "
        f"p {advice['p_value']:.4f}, {advice['queries']} queries)",
        highlight=False,
    )
    out.print_json(data=advice["settings"])
    if not advice["recommended"]:
        out.print("[yellow]Not recommended[/]: the gain is not significant. Stay with what is set now.")
    elif applied:
        out.print("[green]Applied[/] to the attachment's defaults.")
    else:
        out.print("[green]Recommended.[/] Run it with --apply to write it to the attachment's defaults.")


@contextmanager
def _target(es: Elasticsearch, target: str, keep: str | None) -> Iterator[str]:
    """The index to search: the one that is named, or one made of the folder that is named."""
    from query.lab.scratch import scratch_index

    if not Path(target).is_dir():
        yield target
        return
    with count_progress() as progress:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        scratch = scratch_index(es, Path(target), show, keep_as=keep)
        index = scratch.__enter__()
    try:
        yield index
    finally:
        scratch.__exit__(None, None, None)


def _judged(
    es: Elasticsearch, target: str, index: str, queries: Path | None, qrels: Path | None, split: str, titles: str | None,
    sample: int | None,
) -> Judged:  # fmt: skip
    if titles is not None:
        judged = from_titles(es, index, titles, size=sample or 300, seed=0)
    elif qrels is not None:
        judged = read_judgements(qrels, queries)
    elif Path(target).is_dir():
        judged = read_beir(Path(target), split)
    else:
        err.print("Name judgements with --qrels (and --queries), or make some with --from-titles FIELD.", style="red")
        raise typer.Exit(USAGE)
    return judged.only(list(judged.queries)[:sample]) if sample else judged


@contextmanager
def _bar(what: str, total: int) -> Iterator[Any]:
    with count_progress() as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


def _with_run(found: Any, file: Path) -> Any:
    """The evaluation with a run from elsewhere beside its systems."""
    import ir_measures

    from query.lab.evaluation import with_run

    run: dict[str, dict[str, float]] = {}
    for one in ir_measures.read_trec_run(str(file)):  # type: ignore[no-untyped-call]
        run.setdefault(one.query_id, {})[one.doc_id] = one.score
    return with_run(found, file.stem, run)


def _write_runs(found: Any, judged: Judged, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_qrels(judged, folder / "qrels.txt")
    for name, one in found.systems.items():
        label = name.replace(",", "").replace(" ", "-").lower()
        lines = [
            f"{id_} Q0 {document} {rank} {score:g} {label}"
            for id_, hits in one.run.items()
            for rank, (document, score) in enumerate(hits.items(), 1)
        ]
        (folder / f"{label}.run").write_text("\n".join(lines) + "\n", "utf-8")
