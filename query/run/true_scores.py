"""The true scores that named queries bring with the hits of a request."""

from collections.abc import Mapping, Sequence
from typing import Any

from mappings.attachment import Attachment
from query.fusion.ranked_lists import Key, Scores
from query.plan.hybrid_legs import LEXICAL
from query.plan.sequence_numbers import keys_of_hits, total_of_both
from query.plan.similarity import similarity_scale


def true_scores(
    responses: Sequence[Mapping[str, Any]], attachment: Attachment, weights: Mapping[str, float]
) -> dict[str, Scores]:
    """Every candidate's BM25 and similarity, by leg, each list best first. A list contains the documents that the leg matches;
    the list of a leg of weight 0 is empty."""
    value = similarity_scale(attachment).of_script
    scores_by_leg: dict[str, dict[Key, float]] = {name: {} for name in weights}
    for response in responses:
        hits = response["hits"]["hits"]
        for key, hit in zip(keys_of_hits(hits), hits, strict=True):
            for name, score in (hit.get("matched_queries") or {}).items():
                if weights.get(name):
                    scores_by_leg[name][key] = score if name == LEXICAL else value(score)
    return {name: best_first(scores) for name, scores in scores_by_leg.items()}


def total_of_legs(most: bool | int, lexical: Mapping[str, Any] | None, semantic: Mapping[str, Any]) -> dict[str, Any]:
    """`hits.total` over both legs' responses: all matches of BM25, and the nearest documents that BM25 does not match. `most`: the
    request's `track_total_hits`."""
    matched = (lexical or {"hits": {}})["hits"].get("total", {"value": 0, "relation": "eq"})
    nearest = semantic["hits"]["hits"]
    apart = (
        sum(LEXICAL not in (hit.get("matched_queries") or ()) for hit in nearest)
        if lexical is not None
        else len(nearest)
    )
    return total_of_both(most, matched, apart)


def best_first(scores: Scores) -> dict[Key, float]:
    return dict(sorted(scores.items(), key=lambda item: -item[1]))
