"""Shows an evaluation: a table for the terminal, and a self-contained HTML file with plots."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup
from rich.table import Table

from query.lab.evaluation import Evaluation, wins_and_losses
from query.lab.measuring import MAIN, MEASURES

_COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#e45756", "#72b7b2", "#9d755d", "#bab0ac")


def table(evaluation: Evaluation) -> Table:
    """One row per system; the best value of each measure is highlighted."""
    judged = "weak judgements" if evaluation.judged.is_weak else "judgements"
    title = f"{evaluation.index}: {len(evaluation.judged.queries)} queries, {judged} of {evaluation.judged.name}"
    shown = Table(
        "system", *MEASURES, "unjudged@10", f"gain over {evaluation.baseline}", "p", "p50 ms", "p95 ms", title=title
    )
    best = _best(evaluation)
    for name, measured in evaluation.systems.items():
        difference = evaluation.differences.get(name)
        values = [
            f"[bold green]{value:.4f}[/]" if value >= best[measure] - 1e-9 else f"{value:.4f}"
            for measure in MEASURES
            for value in [measured.means[measure].mean]
        ]
        gain, p_value = ("", "") if difference is None else (f"{difference.gain.mean:+.4f}", _p(difference.p_value))
        if difference is not None and difference.is_significant:
            gain = f"[bold]{gain}[/]"
        shown.add_row(
            name,
            *values,
            f"{measured.unjudged:.0%}",
            gain,
            p_value,
            f"{measured.latency[0]:.1f}",
            f"{measured.latency[1]:.1f}",
        )
    return shown


def write_html(evaluation: Evaluation, file: Path) -> None:
    """One file: figures, plots (SVG inside), and the queries won and lost with their hits. Everything from the index is escaped."""
    environment = Environment(loader=PackageLoader("query.lab", "templates"), autoescape=select_autoescape())
    environment.filters["p"] = _p
    duels = {name: wins_and_losses(evaluation, name) for name in evaluation.systems if name != evaluation.baseline}
    page = environment.get_template("report.html").render(
        evaluation=evaluation,
        measures=list(MEASURES),
        main=MAIN,
        duels=duels,
        plots=_plots(evaluation),
        best=_best(evaluation),
    )
    file.write_text(page, "utf-8")


def _best(evaluation: Evaluation) -> Mapping[str, float]:
    return {
        measure: max(measured.means[measure].mean for measured in evaluation.systems.values()) for measure in MEASURES
    }


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _plots(evaluation: Evaluation) -> dict[str, Markup]:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update(
        {"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10, "svg.hashsalt": "esblend"}
    )
    return {"bars": _bars(evaluation), "scatter": _scatter(evaluation), "curve": _curve(evaluation)}


def _bars(evaluation: Evaluation) -> Markup:
    figure, axes = _figure(7, 0.5 * len(evaluation.systems) + 1)
    names = list(evaluation.systems)[::-1]
    means = [evaluation.systems[name].means[MAIN] for name in names]
    errors = [
        [interval.mean - interval.low for interval in means],
        [interval.high - interval.mean for interval in means],
    ]
    axes.barh(names, [interval.mean for interval in means], xerr=errors, color=_COLOURS[0], ecolor="#444", capsize=3)
    axes.set_xlabel(f"{MAIN}, 95 % interval")
    return _svg(figure, f"{MAIN} of each system with its confidence interval")


def _scatter(evaluation: Evaluation) -> Markup:
    best = max(
        (name for name in evaluation.systems if name != evaluation.baseline),
        key=lambda name: evaluation.systems[name].means[MAIN].mean,
    )
    figure, axes = _figure(4.5, 4.5)
    base, ours = evaluation.systems[evaluation.baseline].values[MAIN], evaluation.systems[best].values[MAIN]
    axes.plot([0, 1], [0, 1], color="#999", linewidth=1)
    axes.scatter([base[id_] for id_ in ours], list(ours.values()), s=14, alpha=0.5, color=_COLOURS[1])
    axes.set_xlabel(f"{MAIN} of {evaluation.baseline}")
    axes.set_ylabel(f"{MAIN} of {best}")
    return _svg(figure, f"Each query under {evaluation.baseline} and under {best}")


def _curve(evaluation: Evaluation) -> Markup:
    figure, axes = _figure(6, 3.5)
    alphas = list(evaluation.curve)
    axes.fill_between(
        alphas,
        [interval.low for interval in evaluation.curve.values()],
        [interval.high for interval in evaluation.curve.values()],
        color=_COLOURS[2],
        alpha=0.2,
    )
    axes.plot(alphas, [interval.mean for interval in evaluation.curve.values()], color=_COLOURS[2], marker="o")
    axes.set_xlabel("alpha, the share of the semantic leg")
    axes.set_ylabel(MAIN)
    return _svg(figure, f"{MAIN} of the exact linear blend by alpha")


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Any, title: str) -> Markup:
    """The figure as an SVG element, with a label for screen readers."""
    drawing = io.StringIO()
    figure.savefig(drawing, format="svg", metadata={"Date": None})
    svg = drawing.getvalue()
    svg = svg[svg.index("<svg") :]
    labelled = Markup('<svg role="img" aria-label="{}" ').format(title)
    # matplotlib escapes the names that it draws
    return labelled + Markup(svg.removeprefix("<svg"))  # noqa: S704
