"""Parses `semantic` clauses, `inner_hits` of passages, and texts in place of query vectors."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from esblend.errors import InvalidRequest, MalformedRequest
from query.language.checks import filters_of, inner_object, integer, number, objects_of, refuse_unknown

SEMANTIC_KEYS = frozenset(("query", "field", "k", "filter", "min_score", "inner_hits", "boost", "_name"))
INNER_HITS_KEYS = frozenset(("size", "from", "name"))
MAX_K = 10_000
_MAX_PASSAGES = 100
"""Elasticsearch's own default of `index.max_inner_result_window`."""


@dataclass(frozen=True)
class PassageHits:
    """`inner_hits`: which passages of each hit to show."""

    size: int = 1
    start: int = 0
    name: str = "passages"


@dataclass(frozen=True)
class Semantic:
    """A `semantic` clause: the nearest passages to a text."""

    text: str
    k: int | None = None
    filters: tuple[dict[str, Any], ...] = ()
    min_score: float | None = None
    """The lowest score of the clause, before `boost`."""
    inner_hits: PassageHits | None = None
    options: dict[str, Any] = field(default_factory=dict)
    """`boost` and `_name`, which every clause of Elasticsearch has."""


def parse_semantic(body: dict[str, Any]) -> Semantic:
    """Raises MalformedRequest or InvalidRequest naming the key at fault."""
    refuse_unknown(body, set(SEMANTIC_KEYS), "semantic")
    text = body.get("query")
    if not isinstance(text, str) or not text.strip():
        raise InvalidRequest("[semantic] needs a [query] that is a text")
    return Semantic(
        text,
        integer(body, "k", None, low=1, high=MAX_K, where="semantic"),
        filters_of(body, "semantic"),
        number(body, "min_score", where="semantic"),
        parse_inner_hits(body, "semantic"),
        {key: body[key] for key in ("boost", "_name") if key in body},
    )


def parse_inner_hits(body: dict[str, Any], where: str) -> PassageHits | None:
    """`inner_hits`: true, or an object with `size`, `from` and `name`; None when absent or false."""
    given = body.get("inner_hits")
    if given is None or given is False:
        return None
    if given is True:
        return PassageHits()
    options = inner_object(body, "inner_hits", where, {})
    where = f"{where}.inner_hits"
    refuse_unknown(options, set(INNER_HITS_KEYS), where)
    if not isinstance(options.get("name", ""), str):
        raise MalformedRequest(f"[{where}.name] must be a text")
    size = integer(options, "size", 1, low=0, high=_MAX_PASSAGES, where=where)
    start = integer(options, "from", 0, low=0, high=_MAX_PASSAGES - size, where=where)
    return PassageHits(size, start, options.get("name", "passages"))


def text_sections(body: Any) -> Iterator[dict[str, Any]]:
    """Every kNN retriever in a tree that has a text, or another builder, in place of a vector."""
    for value in objects_of(body):
        if "query_vector_builder" in value and isinstance(value.get("field"), str):
            yield value


def is_text(builder: Any) -> bool:
    """Whether a `query_vector_builder` has a text for the gateway. Any other is Elasticsearch's, such as `lookup`."""
    return not isinstance(builder, dict) or "text_embedding" in builder or not builder


def text_to_embed(builder: Any) -> str:
    """The text of a `query_vector_builder`. Raises InvalidRequest when there is none."""
    inside = builder.get("text_embedding") if isinstance(builder, dict) else None
    text = inside.get("model_text") if isinstance(inside, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise InvalidRequest("[knn.query_vector_builder] needs a text in [text_embedding.model_text]")
    return text
