"""Says which side of an interleaved experiment wins, from its clicks."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from query.lab.measures import LEVEL


@dataclass(frozen=True)
class Verdict:
    """How many of an experiment's searches each side won, and whether the difference is significant."""

    experiment: str
    clicks: int
    wins_a: int
    wins_b: int
    ties: int
    preference: float
    """The preference for side b, from -0.5 (a wins every search) to 0.5 (Chapelle et al. 2012)."""
    p_value: float
    """The p-value of a binomial sign test over the searches that one side won (Radlinski et al. 2008)."""

    @property
    def winner(self) -> str | None:
        """None while the difference may be chance."""
        if self.p_value >= LEVEL:
            return None
        return "b" if self.preference > 0 else "a"

    @property
    def sentence(self) -> str:
        searches = self.wins_a + self.wins_b + self.ties
        numbers = (
            f"of {searches} searches with clicks, a won {self.wins_a}, b won {self.wins_b}, and {self.ties} tied "
            f"(p {self.p_value:.3g})"
        )
        if self.winner is None:
            return f"{self.experiment}: no side wins yet; {numbers}. Collect more clicks."
        return f"{self.experiment}: side {self.winner} wins; {numbers}."


def judge(tally: Mapping[str, Any]) -> Verdict:
    """The verdict on one experiment of `GET /_esblend/clicks`.

    preference = (wins of b + ties / 2) / searches - 1/2 (Chapelle, Joachims, Radlinski and Yue, TOIS 2012). The p-value is
    two-sided, of wins against losses without ties (Radlinski, Kurup and Joachims, CIKM 2008); 1 without wins.
    """
    from scipy import stats  # here, since it takes a second to import

    a, b, ties = int(tally["wins_a"]), int(tally["wins_b"]), int(tally["ties"])
    searches = a + b + ties
    preference = (b + ties / 2) / searches - 0.5 if searches else 0.0
    p_value = float(stats.binomtest(b, a + b).pvalue) if a + b else 1.0
    return Verdict(str(tally["experiment"]), int(tally["clicks"]), a, b, ties, preference, p_value)


def to_json(verdict: Verdict) -> dict[str, Any]:
    return {**asdict(verdict), "winner": verdict.winner, "sentence": verdict.sentence}
