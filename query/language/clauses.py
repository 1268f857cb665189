"""Finds the query clauses of a search body: the places where Elasticsearch reads a query, and no others.

A word such as `semantic` elsewhere, as the name of a field or a value of a script's parameters, is not a clause.

    body -> query, post_filter, knn.filter, rescore, retriever, aggregations, highlight, sort, collapse
         -> inside each query: the clauses of bool, dis_max, function_score, nested, ...
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Query = dict[str, Any]
# Options of compound queries that contain one query or a list of queries.
_INNER = {
    "bool": ("must", "should", "filter", "must_not"), "boosting": ("positive", "negative"), "constant_score": ("filter",),
    "dis_max": ("queries",), "function_score": ("query",), "script_score": ("query",), "nested": ("query",),
    "has_child": ("query",), "has_parent": ("query",), "pinned": ("organic",), "rule": ("organic",), "rule_query": ("organic",),
    "knn": ("filter",), "semantic": ("filter",), "hybrid": ("filter", "lexical", "queries"),
}  # fmt: skip
_RANKED = ("hybrid", "semantic", "neural", "knn")
"""Clauses that esblend reads."""


@dataclass(frozen=True)
class Clause:
    """A query clause, `{kind: options}`, and its surroundings."""

    holder: Query
    """The object with the clause as its only key. Replacing its content replaces the clause."""
    nested: str | None = None
    """The path of the enclosing `nested` query."""
    parent: "Clause | None" = None
    option: str = ""
    """The option of `parent` that contains the clause."""

    @property
    def kind(self) -> str:
        return next(iter(self.holder))

    @property
    def options(self) -> Any:
        return self.holder[self.kind]

    @property
    def is_leg(self) -> bool:
        """Whether it is one of `hybrid.queries`."""
        return self.option == "queries" and self.parent is not None and self.parent.kind == "hybrid"

    def replace(self, query: Query) -> None:
        """Replace the clause in its body."""
        self.holder.clear()
        self.holder.update(query)


def clauses_of(body: Any) -> Iterator[Clause]:
    """Every clause of a search body, inner clauses before the clauses that contain them."""
    clauses: list[Clause] = []
    waiting = [Clause(query) for query in _queries_of_body(body) if _is_clause(query)]
    while waiting:
        clause = waiting.pop()
        clauses.append(clause)
        waiting += _inside(clause)
    yield from reversed(clauses)


def ranked_clauses(body: Any) -> Iterator[Clause]:
    """The clauses that esblend reads: `hybrid`, `semantic`, `neural` and `knn` with an object as their value."""
    return (clause for clause in clauses_of(body) if clause.kind in _RANKED and isinstance(clause.options, dict))


def clauses_in(*queries: Query) -> Iterator[Clause]:
    """Every clause of these queries, including the queries themselves."""
    return clauses_of({"query": {"bool": {"must": list(queries)}}})


def scoring_queries(body: dict[str, Any]) -> Iterator[Query]:
    """The query of a search body, or the queries of its `standard` retrievers."""
    yield from _objects(body.get("query"))
    for kind, inside in _retrievers(body.get("retriever")):
        if kind == "standard":
            yield from _objects(inside.get("query"))


def hit_options(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The objects of a search body with options of hits, such as `highlight`: of the page, of groups, of `top_hits`."""
    yield body
    for collapse in _objects(body.get("collapse")):
        yield from _objects(collapse.get("inner_hits"))
    for key in ("aggs", "aggregations"):
        yield from (options for kind, options in _aggregations(body.get(key)) if kind == "top_hits")


def knn_sections(body: Any) -> Iterator[dict[str, Any]]:
    """The kNN searches of a body that are not query clauses: `knn` beside the query, and `knn` retrievers."""
    if not isinstance(body, dict):
        return
    yield from _objects(body.get("knn"))
    for kind, inside in _retrievers(body.get("retriever")):
        if kind == "knn":
            yield inside


def _is_clause(query: Any) -> bool:
    return isinstance(query, dict) and len(query) == 1


def _inside(clause: Clause) -> Iterator[Clause]:
    kind, options = clause.kind, clause.options
    if not isinstance(options, dict):
        return
    if kind == "neural":  # {"neural": {field: {"query_text": ..., "filter": ...}}}
        for inside in options.values():
            yield from _clauses(inside.get("filter") if isinstance(inside, dict) else None, clause, "filter")
    for option in _INNER.get(kind, ()):
        yield from _clauses(options.get(option), clause, option)
    if kind == "function_score":
        for function in _objects(options.get("functions")):
            yield from _clauses(function.get("filter"), clause, "functions")


def _clauses(queries: Any, parent: Clause, option: str) -> Iterator[Clause]:
    nested = parent.nested
    if parent.kind == "nested" and isinstance(parent.options.get("path"), str):
        nested = parent.options["path"]
    yield from (Clause(query, nested, parent, option) for query in _objects(queries) if _is_clause(query))


def conditions_around(clause: Clause) -> list[Query]:
    """The other conditions of the enclosing `bool` queries, which each hit of the clause must match as well."""
    conditions: list[Query] = []
    excluded: list[Query] = []
    inner, around = clause, clause.parent
    while around is not None and around.kind not in ("nested", "has_child", "has_parent"):  # these read other documents
        if around.kind == "bool":
            for name in ("filter", "must"):
                conditions += (query for query in _objects(around.options.get(name)) if query is not inner.holder)
            excluded += (query for query in _objects(around.options.get("must_not")) if query is not inner.holder)
        inner, around = around, around.parent
    conditions = [query for query in conditions if not _is_ranked(query)]
    excluded = [query for query in excluded if not _is_ranked(query)]
    return [*conditions, *([{"bool": {"must_not": excluded}}] if excluded else [])]


def _is_ranked(query: Query) -> bool:
    return next(ranked_clauses({"query": query}), None) is not None


def _queries_of_body(body: Any) -> Iterator[Any]:
    if not isinstance(body, dict):
        return
    yield from (body.get("query"), body.get("post_filter"))
    for section in _objects(body.get("knn")):
        yield from _objects(section.get("filter"))
    for rescorer in _objects(body.get("rescore")):
        yield from _rescored(rescorer)
    for search in _objects(body.get("sub_searches")):
        yield search.get("query")
    yield from _of_retrievers(body.get("retriever"))
    for key in ("aggs", "aggregations"):
        yield from _of_aggregations(body.get(key))
    yield from _of_hits(body)
    for collapse in _objects(body.get("collapse")):
        for inner_hits in _objects(collapse.get("inner_hits")):
            yield from _of_hits(inner_hits)


def _of_hits(options: dict[str, Any]) -> Iterator[Any]:
    """Queries of `highlight` and `sort`."""
    for highlight in _objects(options.get("highlight")):
        yield highlight.get("highlight_query")
        for fields in _objects(highlight.get("fields")):
            yield from (field.get("highlight_query") for field in fields.values() if isinstance(field, dict))
    for entry in _objects(options.get("sort")):
        for order in entry.values():
            nested = order.get("nested") if isinstance(order, dict) else None
            while isinstance(nested, dict):
                yield nested.get("filter")
                nested = nested.get("nested")


def _rescored(rescorer: dict[str, Any]) -> Iterator[Any]:
    query = rescorer.get("query")
    if isinstance(query, dict):
        yield query.get("rescore_query")


def _of_retrievers(retriever: Any) -> Iterator[Any]:
    for kind, inside in _retrievers(retriever):
        yield from _objects(inside.get("filter"))
        if kind == "standard":
            yield inside.get("query")
            yield from _of_hits(inside)
        for rescorer in _objects(inside.get("rescore")):
            yield from _rescored(rescorer)


def _retrievers(retriever: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each retriever of a tree by its kind."""
    waiting = [retriever]
    while waiting:
        tree = waiting.pop()
        for kind, inside in tree.items() if isinstance(tree, dict) else ():
            if isinstance(inside, dict):
                yield kind, inside
                waiting.append(inside.get("retriever"))
                waiting += (leg.get("retriever", leg) for leg in _objects(inside.get("retrievers")))


def _of_aggregations(aggregations: Any) -> Iterator[Any]:
    for kind, options in _aggregations(aggregations):
        if kind == "filter":
            yield options
        else:
            yield from _of_aggregation(kind, options)


def _aggregations(aggregations: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each aggregation of a tree by its kind."""
    waiting = [aggregations]
    while waiting:
        level = waiting.pop()
        for aggregation in level.values() if isinstance(level, dict) else ():
            for kind, options in aggregation.items() if isinstance(aggregation, dict) else ():
                if kind in ("aggs", "aggregations"):
                    waiting.append(options)
                elif isinstance(options, dict):
                    yield kind, options


def _of_aggregation(kind: str, options: dict[str, Any]) -> Iterator[Any]:
    if kind in ("filters", "adjacency_matrix"):
        filters = options.get("filters")
        yield from filters.values() if isinstance(filters, dict) else _objects(filters)
    elif kind in ("significant_terms", "significant_text"):
        yield options.get("background_filter")
    elif kind == "frequent_item_sets":
        yield options.get("filter")
    elif kind == "t_test":
        yield from (side.get("filter") for side in options.values() if isinstance(side, dict))
    elif kind == "top_hits":
        yield from _of_hits(options)


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """An object, or the objects of a list."""
    for item in value if isinstance(value, list) else (value,):
        if isinstance(item, dict):
            yield item
