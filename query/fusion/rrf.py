"""Reciprocal rank fusion."""

from collections.abc import Sequence

from query.fusion.combinations import single_precision_sums, weighted_sums
from query.fusion.ranked_lists import FusedHit, Key, LegContribution, Method, RankedLeg, fuse_lists


def reciprocal_rank_fusion(
    legs: Sequence[RankedLeg], rank_constant: int = 60, *, single_precision: bool = False, most: int | None = None
) -> list[FusedHit]:
    """Fuse ranked lists by reciprocal rank (Cormack et al., SIGIR 2009), best first.

    score(d) = sum over legs of weight / (rank_constant + rank), rank from 1; a list without d adds 0. Ties go to the
    document that the earlier legs rank better. `single_precision`: scores are 32-bit floats, as in Elasticsearch. `most`: see
    `fuse_lists`.
    """
    shares = [{key: 1.0 / place for place, key in enumerate(leg.scores, start=rank_constant + 1)} for leg in legs]
    weights = [leg.weight for leg in legs]

    def scores(values: Sequence[Sequence[float]]) -> Sequence[float]:
        return (single_precision_sums if single_precision else weighted_sums)(weights, values)

    def part(position: int, key: Key) -> LegContribution:
        leg, share = legs[position], shares[position].get(key, 0.0)
        return LegContribution(
            leg.name,
            leg.weight,
            leg.ranks.get(key),
            leg.scores.get(key),
            share,
            leg.weight * share,
            leg.dot_of(key),
            inner=leg.inner(key),
        )

    return fuse_lists(legs, shares, [0.0] * len(legs), scores, part, Method("rrf", rank_constant=rank_constant), most)
