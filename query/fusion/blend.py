"""The blend of a `hybrid` query: BM25 and one or more semantic legs become one ranked list."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from query.fusion.linear import linear_fusion
from query.fusion.normalizers import Calibration, Normalize, calibrated, scaled_by
from query.fusion.ranked_lists import FusedHit, RankedLeg, Scores
from query.fusion.rrf import reciprocal_rank_fusion

Fuse = Callable[[Sequence[RankedLeg]], list[FusedHit]]
CALIBRATED, RAW_DOT, THEORETICAL = "calibrated", "raw_dot", "theoretical"


@dataclass(frozen=True)
class Blending:
    """The settings of a blend."""

    fusion: str = "linear"
    normalizer: str = CALIBRATED
    combination: str = "sum"
    rank_constant: int = 60
    is_windowed: bool = False
    """Whether a list lacks the scores of documents outside of its window. Otherwise it lacks only documents without any score."""

    @property
    def is_calibrated(self) -> bool:
        """Whether the mean similarity of the query to the documents is needed."""
        return self.fusion == "linear" and self.normalizer == CALIBRATED


@dataclass(frozen=True)
class SemanticScale:
    """The scale of the semantic legs' raw scores, for fusions that normalise the legs differently."""

    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
    """Calibrations by index."""
    raw_dot: str = "none"
    theoretical: str = "unit_dot"
    is_dot: bool = True
    """Whether the raw scores are dot products."""


def blend(
    lists: Mapping[str, Scores],
    weights: Mapping[str, float],
    blending: Blending = Blending(),
    scale: SemanticScale = SemanticScale(),
    plugin: Fuse | None = None,
    highest: float | None = None,
    most: int | None = None,
) -> list[FusedHit]:
    """Fuse the legs of a hybrid query, best first. The first name in `weights` is the lexical leg; the others are semantic.

    calibrated (the default): score = w0 * BM25 / (the query's highest BM25 among the candidates) + w1 * (dot - m) / (1 - m),
    m being the query's mean dot product with the documents. raw_dot: the same with the dot product itself. theoretical: with
    (dot + 1) / 2. Other normalisers apply to both lists. The semantic leg adds 0 for a document without vectors, and for one
    outside of a window the lowest value of the list, if negative. `plugin`: fuses the legs in place of linear fusion and rrf.
    `highest`: the query's highest BM25, if the list may lack its document. `most`: only so many hits are needed, and those with the
    same score as the last of them.
    """
    lexical: str | Normalize = blending.normalizer
    if blending.normalizer in (CALIBRATED, RAW_DOT, THEORETICAL):
        lexical = "max" if highest is None else scaled_by(highest)
    semantic = _semantic_normalizer(blending, scale)
    dot = (lambda raw: raw) if scale.is_dot else None
    means = (
        {index: calibration.mean for index, calibration in scale.calibrations.items()}
        if blending.normalizer == CALIBRATED
        else {}
    )
    legs = [
        RankedLeg(name, lists[name], weight, lexical, is_cut=blending.is_windowed)
        if position == 0
        else RankedLeg(name, lists[name], weight, semantic, dot, means, is_cut=blending.is_windowed)
        for position, (name, weight) in enumerate(weights.items())
    ]
    if plugin is not None:
        return plugin(legs)
    if blending.fusion == "rrf":
        return reciprocal_rank_fusion(legs, blending.rank_constant, most=most)
    return linear_fusion(legs, blending.combination, most=most)


def _semantic_normalizer(blending: Blending, scale: SemanticScale) -> str | Normalize:
    if blending.normalizer == CALIBRATED:
        # A plug-in's fusion chooses its own normalisation, so it gets the raw scores without a calibrated normaliser.
        return calibrated(scale.calibrations) if blending.is_calibrated else "none"
    own = {RAW_DOT: scale.raw_dot, THEORETICAL: scale.theoretical}
    return own.get(blending.normalizer, blending.normalizer)
