"""`_explanation` of a fused score in Elasticsearch's shape, and the same facts as fields.

Elasticsearch's `rrf` explains a leg by its rank, its `linear` by the weighted score. Clients match on a few words of the
descriptions, which are the same here; esblend adds further values (dot product, mean) as details.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from query.fusion.ranked_lists import FusedHit, Key, LegContribution
from query.page.hits import key_of

Tree = dict[str, Any]
_UNNAMED = frozenset((
    "standard", "knn", "rrf", "linear", "rescorer", "text_similarity_reranker", "pinned", "diversify", "rule",
))  # fmt: skip
"""Legs that have the name of their kind were not named by the caller."""


@dataclass(frozen=True)
class FromServer:
    """Elasticsearch's own explanations of the documents of a page, and their Lucene numbers."""

    leaves: Mapping[tuple[int, Key], Tree] = field(default_factory=dict)
    """The explanation of a document's score in a leaf of the retriever tree, by the leaf's position."""
    numbers: Mapping[Key, int] = field(default_factory=dict)
    """Lucene's number of each document in its shard."""


_NOTHING = FromServer()


def explanation(hit: FusedHit, rank: int | None = None, server: FromServer = _NOTHING) -> Tree:
    """The score of a hit as a tree. `rank`: from 1, in the list that the hit comes from, where it is known."""
    name = hit.method.name
    if name == "rrf":
        return _reciprocal_ranks(hit, server)
    if name == "linear":
        return _weighted_sum(hit, server)
    if name == "leg":
        [part] = hit.parts
        known = None if hit.method.leaf is None else server.leaves.get((hit.method.leaf, hit.key))
        return known or _tree(hit.score, "score of the query", _facts(part))
    if name == "pinned":
        document = ranked_document(server.numbers.get(hit.key, hit.key.id), hit.score, rank)
        return _tree(hit.score, "Pinned document, original explanation:", [document])
    shown = "" if rank is None else f" is at rank [{rank}]"
    description = f"[{name}] document with a score of [{_short(hit.score)}]{shown} from the following source queries."
    return _tree(hit.score if rank is None else rank, description, [_changed(part, name, server) for part in hit.parts])


def nearest_document(document: int | str, score: float, rank: int, given: Tree) -> Tree:
    """A hit of a `knn` retriever as Elasticsearch explains it in `rrf` and `linear`. `given`: its explanation of the same hit in a
    kNN search, which says less."""
    nearest = _tree(score, f"found vector with calculated similarity: {_java(score)}", [given])
    return ranked_document(document, score, rank, [nearest])


def ranked_document(document: int | str, score: float, rank: int | None, details: Sequence[Tree] = ()) -> Tree:
    """A document in a list whose scores are known before the query runs. `document`: Lucene's number, else its id."""
    at_rank = "" if rank is None else f" is at rank [{rank}]"
    description = (
        f"doc [{document}] with an original score of [{_java(score)}]{at_rank} from the following source queries."
    )
    return _tree(score if rank is None else rank, description, details)


def explanations(hits: Sequence[Mapping[str, Any]], fused: Sequence[FusedHit]) -> list[dict[str, Any] | None]:
    """`contributions` of each hit in the order of the hits; None for one that is not a candidate."""
    by_key = {hit.key: hit for hit in fused}
    entries = (by_key.get(key_of(hit)) for hit in hits)
    return [None if hit is None else contributions(hit) for hit in entries]


def contributions(hit: FusedHit) -> dict[str, Any]:
    """The contribution of each leg to the score of a hit, as fields for programs."""
    return {
        "_index": hit.key.index,
        "_id": hit.key.id,
        "score": hit.score,
        "method": hit.method.name,
        "legs": [_fields(part) for part in hit.parts],
    }


def _fields(part: LegContribution) -> dict[str, Any]:
    given = {
        "rank": part.rank,
        "score": part.raw,
        "dot_product": part.dot,
        "mean": part.mean,
        "normalizer": part.normalizer,
    }
    return {
        "leg": part.leg,
        "contribution": part.contribution,
        "weight": part.weight,
        "normalized": part.normalized,
        **{key: value for key, value in given.items() if value is not None},
    }


def _reciprocal_ranks(hit: FusedHit, server: FromServer) -> Tree:
    constant = hit.method.rank_constant
    ranks = [part.rank or 0 for part in hit.parts]
    weighted = any(part.weight != 1 for part in hit.parts)
    formula = "weight / (rank + rankConstant)" if weighted else "1 / (rank + rankConstant)"
    details = []
    for position, part in enumerate(hit.parts):
        query = _query(position, part)
        if part.rank is None:
            details.append(_tree(0.0, f"rrf score: [0], result not found in {query}"))
            continue
        how = f"{_short(part.weight) if weighted else '1'} / ({part.rank} + {constant})"
        described = (
            f"rrf score: [{_short(part.contribution)}], for rank [{part.rank}] in {query} computed as [{how}], "
            "for matching query with score"
        )
        details.append(_tree(part.rank, described, [_source(part, server), *_facts(part)]))
    description = (
        f"rrf score: [{_short(hit.score)}] computed for initial ranks {ranks} with rankConstant: [{constant}] "
        f"as sum of [{formula}] for each query"
    )
    return _tree(hit.score, description, details)


def _weighted_sum(hit: FusedHit, server: FromServer) -> Tree:
    details = []
    for position, part in enumerate(hit.parts):
        query = _query(position, part)
        if part.raw is None or _counts_as_absent(part):
            source = [] if part.raw is None else [_source(part, server), *_facts(part)]
            # A leg of `hybrid` may count with its lowest value.
            score = _short(part.contribution) if part.raw is None and part.contribution else "0"
            details.append(_tree(part.contribution, f"weighted score: [{score}], result not found in {query}", source))
            continue
        how = f"{_short(part.weight)} * {_short(part.normalized)}"
        described = (
            f"weighted score: [{_short(part.contribution)}] in {query} computed as [{how}] using score normalizer "
            f"[{part.normalizer}] for original matching query with score:"
        )
        details.append(_tree(part.contribution, described, [_source(part, server), *_facts(part)]))
    how = "sum of (weight[i] * score[i])"
    if hit.method.combination != "sum":
        how = f"{hit.method.combination} of the scores with these weights"
    description = (
        f"weighted linear combination score: [{_short(hit.score)}] computed for normalized scores "
        f"{_list([part.normalized for part in hit.parts])} and weights {_list([part.weight for part in hit.parts])} "
        f"as {how} for each query."
    )
    return _tree(hit.score, description, details)


def _counts_as_absent(part: LegContribution) -> bool:
    """Whether Elasticsearch's `linear` describes a leg as one that lacks the document: its normalised score is 0. A `hybrid`, whose
    parts have no inner hits, has no counterpart there."""
    return part.inner is not None and part.normalized <= 0


def _changed(part: LegContribution, name: str, server: FromServer) -> Tree:
    """A part of a score that a retriever such as `rescorer` computed."""
    if part.inner is not None and part.inner.score == part.contribution:
        return explanation(part.inner, server=server)
    details = [_tree(part.weight, "weight"), _tree(part.raw or 0.0, "score")]
    inner = [] if part.inner is None else [explanation(part.inner, server=server)]
    return _tree(part.contribution, f"score of [{part.leg}]" if part.leg != name else "score", [*details, *inner])


def _source(part: LegContribution, server: FromServer) -> Tree:
    if part.inner is None:
        return _tree(part.raw or 0.0, "score of the query")
    return explanation(part.inner, part.rank, server)


# The m of the calibrated normaliser, (dot - m) / (1 - m). For l2_norm similarity is minus the squared distance.
_MEAN_DOT = "mean dot product with the documents"
_MEAN_DISTANCE = "minus the mean squared distance to the documents"


def _facts(part: LegContribution) -> list[Tree]:
    """Further details, which Elasticsearch does not have."""
    values = {
        "dot product": part.dot,
        _MEAN_DISTANCE if part.dot is None else _MEAN_DOT: part.mean,
    }
    return [_tree(value, description) for description, value in values.items() if value is not None]


def _query(position: int, part: LegContribution) -> str:
    """A leg as Elasticsearch names it: by its position, and by its name if it has one."""
    return f"query at index [{position}]" + ("" if part.leg in _UNNAMED else f" [{part.leg}]")


def _tree(value: float, description: str, details: Sequence[Tree] = ()) -> Tree:
    return {"value": value, "description": description, "details": list(details)}


def _list(values: Sequence[float]) -> str:
    return f"[{', '.join(map(_short, values))}]"


def _short(value: float) -> str:
    """A number with the digits of a 32-bit float, as Elasticsearch prints scores."""
    return str(np.float32(value))


def _java(value: float) -> str:
    """A 32-bit float as Java prints it: 1.7014124E38."""
    return _short(value).replace("e+", "E").replace("e", "E")
