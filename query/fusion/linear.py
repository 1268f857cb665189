"""Linear fusion: normalised scores, combined with weights."""

from collections.abc import Sequence

from esblend.errors import InvalidRequest
from query.fusion.combinations import COMBINATIONS, single_precision_sums, weighted_sums
from query.fusion.normalizers import absent_value, normalize
from query.fusion.ranked_lists import FusedHit, Key, LegContribution, Method, RankedLeg, fuse_lists


def linear_fusion(
    legs: Sequence[RankedLeg], combination: str = "sum", *, single_precision: bool = False, most: int | None = None
) -> list[FusedHit]:
    """Fuse normalised scores, best first. Ties go to the document that the earlier legs rank better.

    sum: score(d) = sum over legs of weight * normalizer(raw score), as Elasticsearch's `linear` retriever. The means have the
    formulas of OpenSearch's normalization processor, w being a leg's weight and s its normalised score: arithmetic_mean:
    sum(w * s) / sum(w); geometric_mean: exp(sum(w * ln s) / sum(w)) and harmonic_mean: sum(w) / sum(w / s), with s at least
    0.001. A list without d counts with `absent_value`, usually 0. `single_precision`: a sum is of 32-bit floats, as in
    Elasticsearch. `most`: see `fuse_lists`.
    Raises InvalidRequest on an unknown combination.
    """
    combine = COMBINATIONS.get(combination)
    if combine is None:
        raise InvalidRequest(f"unknown combination [{combination}]; known: {', '.join(COMBINATIONS)}")
    normalized = [normalize(leg.scores, leg.normalizer) for leg in legs]
    absent = [
        absent_value(leg.normalizer, values, is_cut=leg.is_cut) for leg, values in zip(legs, normalized, strict=True)
    ]
    weights = [leg.weight for leg in legs]

    def scores(values: Sequence[Sequence[float]]) -> Sequence[float]:
        if combination == "sum":
            return (single_precision_sums if single_precision else weighted_sums)(weights, values)
        return [combine(weights, of_document) for of_document in zip(*values, strict=True)]

    def part(position: int, key: Key) -> LegContribution:
        leg, value = legs[position], normalized[position].get(key, absent[position])
        return LegContribution(
            leg.name,
            leg.weight,
            leg.ranks.get(key),
            leg.scores.get(key),
            value,
            leg.weight * value,
            leg.dot_of(key),
            leg.mean_of(key),
            leg.normalizer if isinstance(leg.normalizer, str) else "calibrated",
            leg.inner(key),
        )

    return fuse_lists(legs, normalized, absent, scores, part, Method("linear", combination), most)
