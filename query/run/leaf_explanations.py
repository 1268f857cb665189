"""Elasticsearch's own explanations of the scores that a retriever tree fuses."""

from collections.abc import Sequence
from typing import Any

from query.fusion.ranked_lists import Key
from query.language.tree import Leaf, StandardLeg
from query.page.explanation import OfLeaves
from query.page.hits import key_of
from query.plan.legs import explained_body
from query.run.candidates import RankedCandidates
from query.run.requests import SearchRequests


async def leaf_explanations(requests: SearchRequests, candidates: RankedCandidates, keys: Sequence[Key]) -> OfLeaves:
    """The explanations of the page's documents in each leaf. A leaf that fails is left out."""
    if not keys or not candidates.leaves:
        return {}
    leaves = [leaf for leaf, _ in candidates.leaves]
    bodies = [explained_body(leaf, window, keys, requests.search) for leaf, window in candidates.leaves]
    responses = await requests.raw("explain", bodies, indices=list(map(indices_of, leaves)))
    return {
        (position, key_of(hit)): _of_leg(leaf, hit["_explanation"])
        for position, (leaf, response) in enumerate(zip(leaves, responses, strict=True))
        for hit in response.get("hits", {}).get("hits", [])
    }


def indices_of(leaf: Leaf) -> Sequence[str]:
    """The indices of the search that a leaf is for; empty: all."""
    return () if not hasattr(leaf, "indices") else leaf.indices


def _of_leg(leaf: Leaf, given: dict[str, Any]) -> dict[str, Any]:
    """The leg's part of an explanation, without the filter on the page's documents."""
    details = given.get("details", [])
    return details[0] if isinstance(leaf, StandardLeg) and len(details) == 2 else given
