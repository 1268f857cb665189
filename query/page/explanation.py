"""`_explanation` of a fused score."""

from typing import Any

from query.fusion.ranked_lists import FusedHit, LegContribution


def explanation(hit: FusedHit, combination: str = "sum") -> dict[str, Any]:
    """A score as a tree in Elasticsearch's shape. The details add up to the value, or have it as their weighted mean."""
    return {
        "value": hit.score,
        "description": f"{combination.replace('_', ' ')} of:",
        "details": [
            {
                "value": part.contribution,
                "description": f"{part.leg}, product of:",
                "details": [
                    {"value": part.weight, "description": "weight", "details": []},
                    {"value": part.normalized, "description": "normalised score", "details": _evidence(part)},
                ],
            }
            for part in hit.parts
        ],
    }


# The m of the calibrated normaliser, (dot - m) / (1 - m). For l2_norm similarity is minus the squared distance.
_MEAN_DOT = "mean dot product with the documents"
_MEAN_DISTANCE = "minus the mean squared distance to the documents"


def _evidence(part: LegContribution) -> list[dict[str, Any]]:
    values = {
        "rank in this leg's list": part.rank,
        "raw score": part.raw,
        "raw dot product": part.dot,
        _MEAN_DISTANCE if part.dot is None else _MEAN_DOT: part.mean,
    }
    evidence = [
        {"value": value, "description": description, "details": []}
        for description, value in values.items()
        if value is not None
    ]
    return evidence or [{"value": 0.0, "description": "not in this leg's list", "details": []}]
