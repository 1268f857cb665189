"""The geometry of the report's plots: pure functions from figures to positions, which the template draws."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from query.lab.measures import Difference, Interval

WIDTH, HEIGHT = 400, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 14, 26, 40


@dataclass(frozen=True)
class ForestRow:
    """A gain with its interval; `low`, `mean` and `high` are positions in percent of the axis."""

    name: str
    difference: Difference
    low: float
    mean: float
    high: float


@dataclass(frozen=True)
class Forest:
    """`zero` and the ticks' positions are in percent of the axis. `ticks`: (position, value)."""

    rows: Sequence[ForestRow]
    zero: float
    ticks: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """An SVG of `WIDTH` by `HEIGHT`: `line` and `band` are lists of points, `marks` (x, y, alpha, interval), `ticks` (y, value).
    `present`: the x of the present alpha."""

    line: str
    band: str
    marks: Sequence[tuple[float, float, float, Interval]]
    y_ticks: Sequence[tuple[float, float]]
    x_ticks: Sequence[tuple[float, float]]
    present: float | None


def forest(differences: Mapping[str, Difference]) -> Forest:
    """Rows in the order of `differences` on one axis that contains zero."""
    gains = [difference.gain for difference in differences.values()]
    low, high = min([0.0, *(gain.low for gain in gains)]), max([0.0, *(gain.high for gain in gains)])
    margin = 0.05 * (high - low) or 0.01
    low, high = low - margin, high + margin

    def at(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    rows = [ForestRow(n, d, at(d.gain.low), at(d.gain.mean), at(d.gain.high)) for n, d in differences.items()]
    return Forest(rows, at(0), [(at(value), value) for value in ticks(low, high, 5)])


def curve(values: Mapping[float, Interval], alpha: float | None) -> Curve:
    """The main measure by alpha, with its intervals."""
    low, high = (
        min(difference.low for difference in values.values()),
        max(difference.high for difference in values.values()),
    )
    margin = 0.08 * (high - low) or 0.01
    low, high = low - margin, high + margin

    def x(value: float) -> float:
        return round(_LEFT + value * (WIDTH - _LEFT - _RIGHT), 1)

    def y(value: float) -> float:
        return round(HEIGHT - _BOTTOM - (value - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM), 1)

    def points(pairs: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{x(alpha)},{y(value)}" for alpha, value in pairs)

    upper = [(alpha, difference.high) for alpha, difference in values.items()]
    lower = [(alpha, difference.low) for alpha, difference in reversed(list(values.items()))]
    return Curve(
        points([(alpha, difference.mean) for alpha, difference in values.items()]),
        points(upper + lower),
        [(x(alpha), y(difference.mean), alpha, difference) for alpha, difference in values.items()],
        [(y(value), value) for value in ticks(low, high, 5)],
        [(x(value), value) for value in (0, 0.25, 0.5, 0.75, 1)],
        None if alpha is None else x(alpha),
    )


def ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` round values between `low` and `high`: multiples of 1, 2 or 5 times a power of ten. Needs low < high."""
    power = 10 ** math.floor(math.log10((high - low) / most))
    step = next(candidate for factor in (1, 2, 5, 10, 20) if (high - low) / (candidate := factor * power) <= most - 0.5)
    first = math.ceil(low / step)
    return [round(n * step, 10) for n in range(first, math.floor(high / step) + 1)][:most]
