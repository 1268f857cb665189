"""The `pinned` retriever: given documents come first, then the candidates of a leg."""

import math
from collections.abc import Sequence

from query.fusion.ranked_lists import FusedHit, Key, LegContribution, Method
from query.language.tree import PinnedLeg
from query.plan.documents import documents_query
from query.run.requests import SearchRequests, scores_of

MAX_ORGANIC_SCORE = 2.0**127
"""The highest score of a document that is not pinned."""
_NEXT_FLOAT = 2.0 ** (127 - 23)
"""The distance from `MAX_ORGANIC_SCORE` to the next 32-bit float."""


async def pinned_documents(requests: SearchRequests, leg: PinnedLeg) -> list[Key]:
    """The pinned documents that exist and pass the filters, in the order of the request."""
    plain = [id_ for index, id_ in leg.documents if index is None]
    clauses = [documents_query([Key(index, id_)]) for index, id_ in leg.documents if index is not None]
    if plain:
        clauses.append({"ids": {"values": plain}})
    query = {"bool": {"should": clauses, "minimum_should_match": 1, "filter": list(leg.filters)}}
    body = {**requests.search.common, "size": 10 * len(leg.documents), "_source": False, "query": query}
    [response] = await requests.ask("pinned", [body])
    order = {document: position for position, document in enumerate(leg.documents)}
    return sorted(
        scores_of(response),
        key=lambda key: min(order.get((key.index, key.id), math.inf), order.get((None, key.id), math.inf)),
    )


def pin(name: str, pins: Sequence[Key], candidates: Sequence[FusedHit]) -> list[FusedHit]:
    """Pinned documents in their order, then the other candidates.

    Pins have consecutive 32-bit floats above `MAX_ORGANIC_SCORE`, as in Elasticsearch's `pinned` query, so that no enclosing
    retriever can lift another document above them.
    """
    scores = [MAX_ORGANIC_SCORE + _NEXT_FLOAT * (len(pins) - position + 1) for position in range(len(pins))]
    pinned = [
        FusedHit(key, score, (LegContribution(name, 1.0, rank, score, score, score),), Method("pinned"))
        for rank, (key, score) in enumerate(zip(pins, scores, strict=True), 1)
    ]
    return [*pinned, *(hit for hit in candidates if hit.key not in set(pins))]
