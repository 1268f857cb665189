"""Reciprocal rank fusion."""

from collections.abc import Sequence

from query.fusion.ranked_lists import (
    FusedHit,
    Key,
    LegContribution,
    Method,
    RankedLeg,
    fuse_lists,
    single_precision_sum,
    sum_of_contributions,
)


def reciprocal_rank_fusion(
    legs: Sequence[RankedLeg], rank_constant: int = 60, *, single_precision: bool = False
) -> list[FusedHit]:
    """Fuse ranked lists by reciprocal rank (Cormack et al., SIGIR 2009), best first.

    score(d) = sum over legs of weight / (rank_constant + rank), rank from 1; a list without d adds 0. Ties go to the
    document that the earlier legs rank better. `single_precision`: scores are 32-bit floats, as in Elasticsearch.
    """
    ranks = [{key: rank for rank, key in enumerate(leg.scores, start=1)} for leg in legs]

    def part(position: int, key: Key) -> LegContribution:
        leg, rank = legs[position], ranks[position].get(key)
        share = 0.0 if rank is None else 1.0 / (rank_constant + rank)
        return LegContribution(
            leg.name,
            leg.weight,
            rank,
            leg.scores.get(key),
            share,
            leg.weight * share,
            leg.dot_of(key),
            inner=leg.hits.get(key),
        )

    combine = single_precision_sum if single_precision else sum_of_contributions
    return fuse_lists(legs, part, combine, Method("rrf", rank_constant=rank_constant))
