"""Shows an evaluation at the terminal: a sentence with the result, and tables whose numbers are never cut."""

from collections.abc import Sequence

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from query.lab.evaluation import Evaluation, Measured
from query.lab.measures import MAIN, MEASURES
from query.lab.systems import BLEND

_Cells = list[tuple[str, list[Text]]]
"""(heading, a cell for each system)."""


def sentence(evaluation: Evaluation) -> str:
    """Whether the blend beats the baseline, with the gain, the p-value, and the queries better and worse."""
    name = compared(evaluation)
    difference = evaluation.differences[name]
    gain, p = difference.gain.mean, difference.p_value
    blend = f"Blend ({BLEND})" if name == BLEND else name
    if not difference.is_significant:
        result = f"No significant difference between {blend} and {evaluation.baseline}"
    else:
        result = f"{blend} {'beats' if gain > 0 else 'is worse than'} {evaluation.baseline}"
    counts = f"{difference.wins} {'query' if difference.wins == 1 else 'queries'} better, {difference.losses} worse"
    text = f"{result}: {gain:+.3f} {MAIN}, {p_text(p)}, {counts}."
    best = max(evaluation.systems, key=lambda system: evaluation.systems[system].means[MAIN].mean)
    if evaluation.systems[best].means[MAIN].mean > evaluation.systems[name].means[MAIN].mean + 0.0005:
        text += f" {best} scores highest: {evaluation.systems[best].means[MAIN].mean:.3f}."
    return text


def compared(evaluation: Evaluation) -> str:
    """The system that the result names: the default blend, else the best system that is not the baseline."""
    if BLEND in evaluation.differences:
        return BLEND
    return max(evaluation.differences, key=lambda name: evaluation.systems[name].means[MAIN].mean)


def p_text(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def best_values(evaluation: Evaluation) -> dict[str, float]:
    """The best value of each measure over all systems."""
    return {measure: max(system.means[measure].mean for system in evaluation.systems.values()) for measure in MEASURES}


def table(evaluation: Evaluation, console: Console) -> Group:
    """A row for each system; the best value of each measure is bold. On a narrow terminal the columns are two tables, one below the
    other."""
    judged = "weak judgements" if evaluation.judged.is_weak else "judgements"
    title = f"{evaluation.index}: {len(evaluation.judged.queries)} queries, {judged} of {evaluation.judged.name}"
    measures = [(measure, _values(evaluation, measure)) for measure in MEASURES]
    whole = _table(evaluation, [*measures, *_further(evaluation)])
    if console.measure(whole, options=console.options.update(width=10_000)).maximum <= console.width:
        return Group(Text(title, style="italic"), whole)
    return Group(Text(title, style="italic"), _table(evaluation, measures), _table(evaluation, _further(evaluation)))


def _table(evaluation: Evaluation, columns: _Cells) -> Table:
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("system", overflow="fold", ratio=1)
    for heading, cells in columns:
        # A number is not wrapped and not cut: the name of the system gives way.
        shown.add_column(
            heading, justify="right", no_wrap=True, min_width=max(cell.cell_len for cell in (Text(heading), *cells))
        )
    for row, name in enumerate(evaluation.systems):
        shown.add_row(Text(name), *(cells[row] for _, cells in columns))
    return shown


def _values(evaluation: Evaluation, measure: str) -> list[Text]:
    best = best_values(evaluation)[measure]
    values = [system.means[measure].mean for system in evaluation.systems.values()]
    return [Text(f"{value:.4f}", style="bold green" if value >= best - 1e-9 else "") for value in values]


def _further(evaluation: Evaluation) -> _Cells:
    systems: Sequence[tuple[str, Measured]] = list(evaluation.systems.items())
    gains, p_values = [], []
    for name, _ in systems:
        difference = evaluation.differences.get(name)
        gain = "" if difference is None else f"{difference.gain.mean:+.4f}"
        gains.append(Text(gain, style="bold" if difference is not None and difference.is_significant else ""))
        p = "" if difference is None else p_text(difference.p_value).removeprefix("p ").removeprefix("= ")
        p_values.append(Text(p))
    return [
        ("judged@10", [Text(f"{1 - system.unjudged:.0%}") for _, system in systems]),
        (f"vs {evaluation.baseline}", gains),
        ("p", p_values),
        ("p50 ms", [Text(f"{system.latency[0]:.1f}") for _, system in systems]),
        ("p95 ms", [Text(f"{system.latency[1]:.1f}") for _, system in systems]),
    ]
