"""Shows an evaluation: a table for the terminal, and one HTML file with plots that needs nothing else."""

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


def table(found: Evaluation) -> Table:
    """A row a system; the best value of each measure is marked."""
    judged = "weak judgements" if found.judged.is_weak else "judgements"
    title = f"{found.index}: {len(found.judged.queries)} queries, {judged} of {found.judged.name}"
    shown = Table(
        "system", *MEASURES, "unjudged@10", f"gain over {found.baseline}", "p", "p50 ms", "p95 ms", title=title
    )
    best = {measure: max(one.means[measure].mean for one in found.systems.values()) for measure in MEASURES}
    for name, one in found.systems.items():
        difference = found.differences.get(name)
        values = [
            f"[bold green]{value:.4f}[/]" if value >= best[measure] - 1e-9 else f"{value:.4f}"
            for measure in MEASURES
            for value in [one.means[measure].mean]
        ]
        gain, p_value = ("", "") if difference is None else (f"{difference.gain.mean:+.4f}", _p(difference.p_value))
        if difference is not None and difference.is_significant:
            gain = f"[bold]{gain}[/]"
        shown.add_row(
            name, *values, f"{one.unjudged:.0%}", gain, p_value, f"{one.latency[0]:.1f}", f"{one.latency[1]:.1f}"
        )
    return shown


def write_html(found: Evaluation, file: Path) -> None:
    """One file: figures, plots (SVG inside), and the queries won and lost with their hits. Everything from the index is escaped."""
    environment = Environment(loader=PackageLoader("query.lab", "templates"), autoescape=select_autoescape())
    environment.filters["p"] = _p
    duels = {name: wins_and_losses(found, name) for name in found.systems if name != found.baseline}
    page = environment.get_template("report.html").render(
        found=found, measures=list(MEASURES), main=MAIN, duels=duels, plots=_plots(found), best=_best(found)
    )
    file.write_text(page, "utf-8")


def _best(found: Evaluation) -> Mapping[str, float]:
    return {measure: max(one.means[measure].mean for one in found.systems.values()) for measure in MEASURES}


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _plots(found: Evaluation) -> dict[str, Markup]:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update(
        {"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10, "svg.hashsalt": "esblend"}
    )
    return {"bars": _bars(found), "scatter": _scatter(found), "curve": _curve(found)}


def _bars(found: Evaluation) -> Markup:
    figure, axes = _figure(7, 0.5 * len(found.systems) + 1)
    names = list(found.systems)[::-1]
    means = [found.systems[name].means[MAIN] for name in names]
    errors = [[one.mean - one.low for one in means], [one.high - one.mean for one in means]]
    axes.barh(names, [one.mean for one in means], xerr=errors, color=_COLOURS[0], ecolor="#444", capsize=3)
    axes.set_xlabel(f"{MAIN}, 95 % interval")
    return _svg(figure, f"{MAIN} of each system with its confidence interval")


def _scatter(found: Evaluation) -> Markup:
    best = max(
        (name for name in found.systems if name != found.baseline),
        key=lambda name: found.systems[name].means[MAIN].mean,
    )
    figure, axes = _figure(4.5, 4.5)
    base, ours = found.systems[found.baseline].values[MAIN], found.systems[best].values[MAIN]
    axes.plot([0, 1], [0, 1], color="#999", linewidth=1)
    axes.scatter([base[id_] for id_ in ours], list(ours.values()), s=14, alpha=0.5, color=_COLOURS[1])
    axes.set_xlabel(f"{MAIN} of {found.baseline}")
    axes.set_ylabel(f"{MAIN} of {best}")
    return _svg(figure, f"Each query under {found.baseline} and under {best}")


def _curve(found: Evaluation) -> Markup:
    figure, axes = _figure(6, 3.5)
    alphas = list(found.curve)
    axes.fill_between(
        alphas,
        [one.low for one in found.curve.values()],
        [one.high for one in found.curve.values()],
        color=_COLOURS[2],
        alpha=0.2,
    )
    axes.plot(alphas, [one.mean for one in found.curve.values()], color=_COLOURS[2], marker="o")
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
    """The picture as an element, with a title for those who cannot see it."""
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None})
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :]
    labelled = Markup('<svg role="img" aria-label="{}" ').format(title)
    # matplotlib escapes the names that it draws
    return labelled + Markup(svg.removeprefix("<svg"))  # noqa: S704
