"""`hits.total` and `hits.max_score` of a fused search."""

from collections.abc import Mapping
from typing import Any

from query.language.checks import objects_of
from query.language.tree import Search


def total_of(response: Mapping[str, Any], search: Search) -> dict[str, Any] | None:
    """The number of counted documents; None when the search does not track it."""
    if search.track_total_hits is False:
        return None
    total: dict[str, Any] | None = response["hits"].get("total")
    return total


def counted_up_to(most: bool | int, value: int) -> dict[str, Any]:
    """`hits.total` for a number of documents. `most`: the request's `track_total_hits`."""
    if most is not True and most is not False and value > most:
        return {"value": most, "relation": "gte"}
    return {"value": value, "relation": "eq"}


def totals_as_integers(response: dict[str, Any]) -> None:
    """`rest_total_hits_as_int`: every `hits.total` becomes a number, in inner hits too. Changes the response."""
    for value in objects_of(response):
        hits = value.get("hits")
        if isinstance(hits, dict) and isinstance(hits.get("hits"), list) and isinstance(hits.get("total"), dict):
            hits["total"] = hits["total"]["value"]


def without_scores(response: dict[str, Any]) -> None:
    """`track_scores: false`: hits that are sorted by other keys have no score, in place."""
    response["hits"]["max_score"] = None
    for hit in response["hits"]["hits"]:
        hit["_score"] = None
