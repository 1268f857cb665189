"""`esblend eval` and `esblend tune`."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from esblend.cli.console import count_progress, err, out, print_json
from esblend.cli.gateway_client import FAILED, DataDir, Json, call, end, gateway, stating_errors, whole_command
from esblend.errors import InvalidRequest, MissingExtra, UnusableFile
from esblend.extras import require
from query.lab.judgements import Judged, from_titles, missing_documents, read_beir, read_judgements
from query.lab.run_files import read_runs, refuse_equal_labels, write_runs

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

app = typer.Typer()
Target = Annotated[str, typer.Argument(metavar="INDEX", help="An attached index, or a folder in BEIR's layout.")]
Queries = Annotated[
    Path | None, typer.Option(help="JSONL with _id and text, or lines with id and text separated by a tab.")
]
Qrels = Annotated[
    Path | None, typer.Option(help="Judgements: TREC or BEIR qrels, or a CSV with query, document, grade (or clicks).")
]
Split = Annotated[str, typer.Option(help="The qrels to use from a BEIR folder.")]
Sample = Annotated[int | None, typer.Option(min=1, help="Use only the first N queries.")]
Keep = Annotated[str | None, typer.Option(help="Keep the index of a BEIR folder under this name, for the next run.")]


@app.command("eval")
def evaluate(
    target: Target,
    queries: Queries = None,
    qrels: Qrels = None,
    split: Split = "test",
    titles: Annotated[
        str | None,
        typer.Option(
            "--from-titles",
            help="Without judgements: use this field's texts as queries that should find their own document.",
        ),
    ] = None,
    sample: Sample = None,
    rerank: Annotated[
        bool, typer.Option("--rerank", help="Also measure reranking by the gateway's cross-encoder.")
    ] = False,
    generation: Annotated[str | None, typer.Option(help="Search this generation instead of the active one.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write an HTML report with plots to this file.")] = None,
    runs: Annotated[Path | None, typer.Option(help="Write TREC run files and qrels to this folder.")] = None,
    compare_run: Annotated[
        list[Path] | None, typer.Option("--run", help="A TREC run file to compare with. May be repeated.")
    ] = None,
    keep: Keep = None,
    clicks: Annotated[
        bool,
        typer.Option("--clicks", help="Without judgements: report which side of interleaved searches wins by clicks."),
    ] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Measure BM25, kNN and the blends side by side with your own judgements.

    Reports nDCG@10, MRR@10, recall and MAP with significance against BM25, latency, and the queries won and lost.
    """
    _require_lab("`esblend eval`")
    from query.lab.evaluation import evaluate as measure
    from query.lab.evaluation import with_run
    from query.lab.evaluation_details import read_evaluation_details
    from query.lab.report import write_html
    from query.lab.systems import standard_systems

    if clicks:
        if any((queries, qrels, titles, sample, rerank, generation, html, runs, compare_run, keep)):
            end("--clicks uses no judgements and writes no files: leave out the other options.")
        _judge_clicks(target, data_dir, as_json=as_json)
        return
    with gateway(data_dir) as es:
        from_files = _read_judged(target, queries, qrels, split, titles, sample)
        options: dict[str, Any] = {"generation": generation} if generation else {}
        systems = standard_systems(rerank=rerank, shared_options=options)
        other_runs = read_runs(compare_run or [], [system.name for system in systems], from_files)
        _refuse_unwritable(html, runs)
        if runs is not None:
            refuse_equal_labels([*(system.name for system in systems), *other_runs])

        def judge(index: str) -> Judged:
            return _judged_of(es, index, from_files, titles, sample)

        def probe(index: str) -> None:
            _probe(es, index, options | ({"rerank": True} if rerank else {}))

        with _target(es, target, keep, judge, probe) as (index, judged):
            _warn_of_missing_vectors(es, index, data_dir)
            with _bar("Searching", (len(systems) + 1) * len(judged.queries)) as advance:
                evaluation = measure(es, index, judged, systems, shared_options=options, advance=advance)
            for name, run in other_runs.items():
                evaluation = with_run(evaluation, name, run)
            # The figures come first: they are not lost when a file cannot be written.
            _show(evaluation, as_json=as_json)
            if html is not None:
                with _writing("--html", html):
                    write_html(evaluation, read_evaluation_details(es, evaluation, sys.argv[1:], generation), html)
            if runs is not None:
                with _writing("--runs", runs):
                    write_runs(evaluation, runs)
    if not as_json:
        err.print(f"{evaluation.seconds:.0f} s" + (f"; the report is in {html}" if html else ""))


def _show(evaluation: Any, *, as_json: bool) -> None:
    from query.lab.evaluation import to_json
    from query.lab.summary import sentence, table

    if as_json:
        print_json({**to_json(evaluation), "sentence": sentence(evaluation)})
        return
    out.print(table(evaluation, out))
    if evaluation.judged.is_weak:
        err.print("Weak judgements: derived from the index or from clicks, not made by people.", style="yellow")
    out.print(sentence(evaluation), style="bold")


def _judge_clicks(index: str, data_dir: Path | None, *, as_json: bool) -> None:
    """Exit code 1 when the index has no clicks."""
    from query.lab.clicks import judge, to_json

    with gateway(data_dir) as es:
        tallies = call(es, "GET", "/_esblend/clicks", params={"index": index})["experiments"]
    verdicts = [judge(tally) for tally in tallies]
    if not verdicts:
        end(f"No clicks on interleaved hits of [{index}] are stored: POST /_esblend/clicks reports them.", FAILED)
    if as_json:
        print_json({"index": index, "experiments": [to_json(verdict) for verdict in verdicts]})
        return
    for verdict in verdicts:
        out.print(verdict.sentence, soft_wrap=True)


@app.command()
def tune(
    target: Target,
    queries: Queries = None,
    qrels: Qrels = None,
    split: Split = "train",
    titles: Annotated[str | None, typer.Option("--from-titles", help="As in eval; such judgements are weak.")] = None,
    sample: Sample = None,
    folds: Annotated[int, typer.Option(min=2, max=20, help="Folds of the cross-validation.")] = 5,
    apply: Annotated[
        bool, typer.Option("--apply", help="Save the recommended settings as the attachment's defaults.")
    ] = False,
    keep: Keep = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Find weights, field boosts, normaliser, window and rank constant by cross-validation on your own judgements.

    Exit code 1 when no change is recommended, because the gain on held-out queries is not significant.
    """
    _require_lab("`esblend tune`")
    from query.lab import tuning
    from query.lab.candidates import fetch_candidates

    with gateway(data_dir) as es:
        from_files = _read_judged(target, queries, qrels, split, titles, sample)

        def judge(index: str) -> Judged:
            judged = _judged_of(es, index, from_files, titles, sample)
            _refuse_few(judged, folds)
            return judged

        def present_of(index: str) -> tuple[dict[str, Any], tuning.Settings]:
            attachment = call(es, "GET", f"/_esblend/indices/{quote(index, safe='')}")["attachment"]
            return attachment, tuning.present_settings(attachment["defaults"], attachment["source_fields"])

        with _target(es, target, keep, judge, present_of) as (index, judged):
            _warn_of_missing_vectors(es, index, data_dir)
            attachment, present = present_of(index)
            choices = list(dict.fromkeys([present.fields, *tuning.field_choices(present.fields)]))
            window = max(*tuning.WINDOWS, present.blend.window)
            with _bar("Fetching scores", len(choices) * len(judged.queries)) as advance:
                candidates = {
                    names: fetch_candidates(es, index, judged, window, {"fields": list(names)}, advance)
                    for names in choices
                }
            with _bar("Trying settings", 1 + sum(1 for _ in tuning.grid(choices))) as advance:
                similarity = attachment["generations"][attachment["active"]]["vector"]["similarity"]
                advice = tuning.tune(candidates, judged, present, similarity=similarity, folds=folds, advance=advance)
            if apply and advice.is_recommended:
                path = f"/_esblend/indices/{quote(index, safe='')}/defaults"
                profiles = attachment["defaults"].get("profiles")
                profile_part = {"profiles": profiles} if profiles else {}
                call(es, "PUT", path, {**tuning.as_defaults(advice.settings), **profile_part})
    _show_advice(tuning.describe(advice), as_json=as_json, applied=apply and advice.is_recommended)
    if not advice.is_recommended:
        raise typer.Exit(FAILED)


def _require_lab(command: str) -> None:
    with stating_errors():
        require("ir_measures", "jinja2", "scipy", purpose=command, error=MissingExtra)


def _refuse_few(judged: Judged, folds: int) -> None:
    if len(judged.queries) < 2 * folds:
        raise InvalidRequest(f"{len(judged.queries)} queries are too few for {folds} folds")


def _judged_of(
    es: "Elasticsearch", index: str, from_files: Judged | None, titles: str | None, sample: int | None
) -> Judged:
    """The judgements, once the index is known. Raises InvalidRequest when they are of other documents, and warns when the index
    lacks some of them."""
    if from_files is None:
        return from_titles(es, index, str(titles), size=sample or 300, seed=0)
    missing, total = missing_documents(es, index, from_files)
    if missing:
        err.print(
            f"The index lacks {missing} of the {total} documents that are judged relevant. No system can find them.",
            style="yellow",
        )
    return from_files


def _probe(es: "Elasticsearch", index: str, options: dict[str, Any]) -> None:
    """Raises ApiError when the index is not attached, lacks the generation, or when the gateway has no working cross-encoder. The
    search finds a document whatever the words of the queries are, and embeds nothing."""
    hybrid = {"query": "a", "alpha": 0, "lexical": {"match_all": {}}, **options}
    es.search(index=index, body={"size": 1, "_source": False, "on_leg_failure": "fail", "query": {"hybrid": hybrid}})


def _warn_of_missing_vectors(es: "Elasticsearch", index: str, data_dir: Path | None) -> None:
    from elasticsearch import ApiError

    try:
        status = call(es, "GET", f"/_esblend/indices/{quote(index, safe='')}/status")
    except ApiError:  # several indices, or a caller that may only search
        return
    if status["dead_letters"]:
        err.print(
            f"{status['dead_letters']} of {status['documents']} documents are dead letters without vectors, so the semantic leg "
            f"cannot find them. List them: {whole_command(f'esblend dead-letters list {index}', data_dir)}",
            style="yellow",
        )
    if status["pending"]:
        err.print(
            f"{status['pending']} of {status['documents']} documents have no current vectors yet, so the semantic leg cannot find "
            f"them. Wait for them: {whole_command(f'esblend status {index} --wait 600', data_dir)}",
            style="yellow",
        )


def _show_advice(advice: dict[str, Any], *, as_json: bool, applied: bool) -> None:
    if as_json:
        print_json({**advice, "applied": applied})
        return
    now, gain = advice["nDCG@10"]["now"], advice["nDCG@10"]["held_back_gain"]
    low, high = advice["interval"]
    out.print(
        f"nDCG@10 now {now:.4f}; on held-out queries {gain:+.4f} (95 % interval {low:+.4f} to {high:+.4f}, "
        f"p {advice['p_value']:.4f}, {advice['queries']} queries)",
    )
    out.print_json(data=advice["settings"])
    if not advice["recommended"]:
        out.print("Not recommended: the gain is not significant. Keep the current settings.", style="yellow")
    elif applied:
        out.print("Applied to the attachment's defaults.", style="green")
    else:
        out.print("Recommended. Run it with --apply to write it to the attachment's defaults.", style="green")


@contextmanager
def _target(
    es: "Elasticsearch", target: str, keep: str | None, judge: Callable[[str], Judged], check: Callable[[str], object]
) -> Iterator[tuple[str, Judged]]:
    """The named index, or a scratch index of the named folder, with its judgements.

    `judge` gets the index before it is attached and `check` when it is attached, both before its documents are embedded. They raise
    to end the work.
    """
    from query.lab.scratch_index import scratch_index

    if not Path(target).is_dir():
        if keep is not None:
            end(f"--keep is for the index of a folder, and [{target}] is not a folder.")
        judged = judge(target)
        check(target)
        yield target, judged
        return
    judgements: list[Judged] = []
    with count_progress() as progress:
        tasks: dict[str, Any] = {}

        def show(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = progress.add_task(step, total=total)
            progress.update(tasks[step], completed=done, total=total)

        scratch = scratch_index(
            es, Path(target), show, keep_as=keep, before=lambda index: judgements.append(judge(index)), check=check
        )
        index = scratch.__enter__()
    try:
        yield index, judgements[0]
    finally:
        scratch.__exit__(None, None, None)


def _read_judged(
    target: str, queries: Path | None, qrels: Path | None, split: str, titles: str | None, sample: int | None
) -> Judged | None:
    """The judgements in files; None with --from-titles, which needs the index."""
    if titles is not None and (qrels or queries):
        end(
            "--from-titles makes queries and judgements from the index: leave out --qrels and --queries, or --from-titles."
        )
    if queries is not None and qrels is None:
        end("--queries needs --qrels, the judgements of these queries.")
    if titles is not None:
        return None
    if qrels is not None:
        judged = read_judgements(qrels, queries)
    elif Path(target).is_dir():
        judged = read_beir(Path(target), split)
    else:
        end("Pass judgements with --qrels (and --queries), or derive them with --from-titles FIELD.")
    return judged.only(list(judged.queries)[:sample]) if sample else judged


def _refuse_unwritable(html: Path | None, runs: Path | None) -> None:
    """Raises UnusableFile before the measurement starts, not an hour later. It tries to write: permission bits are no proof."""
    if html is not None:
        if html.is_dir():
            raise UnusableFile(f"--html {html} is a folder")
        with _writing("--html", html):
            is_new = not html.exists()
            html.open("a").close()
            if is_new:
                html.unlink()
    if runs is not None:
        if runs.exists() and not runs.is_dir():
            raise UnusableFile(f"--runs {runs} is not a folder")
        parent = next(path for path in (runs.absolute(), *runs.absolute().parents) if path.exists())
        with _writing("--runs", runs), TemporaryFile(dir=parent):
            pass


@contextmanager
def _writing(option: str, path: Path) -> Iterator[None]:
    """Raises UnusableFile when a file cannot be written."""
    try:
        yield
    except OSError as error:
        raise UnusableFile(f"{option} {path} cannot be written: {error.strerror}") from error


@contextmanager
def _bar(what: str, total: int) -> Iterator[Any]:
    with count_progress() as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)
