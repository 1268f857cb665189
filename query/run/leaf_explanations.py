"""Elasticsearch's own explanations of the scores that a retriever tree fuses."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from query.fusion.ranked_lists import Key
from query.language.tree import KnnLeg, Leaf, StandardLeg
from query.page.explanation import FromServer, Tree, nearest_document
from query.page.hits import key_of
from query.plan.documents import numbers_body
from query.plan.legs import explained_body
from query.run.candidates import RankedCandidates
from query.run.requests import SearchRequests


async def leaf_explanations(requests: SearchRequests, candidates: RankedCandidates, keys: Sequence[Key]) -> FromServer:
    """The explanations of the page's documents in each leaf. A leaf that fails is left out."""
    if not keys or not candidates.leaves:
        return FromServer()
    leaves = [leaf for leaf, _ in candidates.leaves]
    bodies = [explained_body(leaf, window, keys, requests.search) for leaf, window in candidates.leaves]
    bodies.append(numbers_body(keys, requests.search))
    *responses, documents = await requests.raw("explain", bodies, indices=[*map(indices_of, leaves), ()])
    numbers = {key_of(hit): hit["sort"][0] for hit in _hits(documents)}
    explained = {
        (position, key): tree
        for position, (leaf, response) in enumerate(zip(leaves, responses, strict=True))
        for key, tree in _of_leg(leaf, response, numbers)
    }
    return FromServer(explained, numbers)


def indices_of(leaf: Leaf) -> Sequence[str]:
    """The indices of the search that a leaf is for; empty: all."""
    return () if not hasattr(leaf, "indices") else leaf.indices


def _of_leg(leaf: Leaf, response: Mapping[str, Any], numbers: Mapping[Key, int]) -> Iterator[tuple[Key, Tree]]:
    """The leg's part of the explanations, without the filter on the page's documents."""
    for rank, hit in enumerate(_hits(response), 1):
        key, given = key_of(hit), hit["_explanation"]
        details = given.get("details", [])
        if isinstance(leaf, KnnLeg):
            yield key, nearest_document(numbers.get(key, key.id), hit["_score"], rank, given)
        else:
            yield key, details[0] if isinstance(leaf, StandardLeg) and len(details) == 2 else given


def _hits(response: Mapping[str, Any]) -> list[dict[str, Any]]:
    hits: list[dict[str, Any]] = response.get("hits", {}).get("hits", [])
    return hits
