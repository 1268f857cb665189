"""Queries for the highlighter, which reads words and must not see vectors: kNN inside `nested` makes some highlighters fail."""

import copy
from typing import Any

from query.language.clauses import Query, clauses_in, hit_options, scoring_queries

_MATCHES_NO_WORD: Query = {"match_none": {}}


def words_of(query: Query) -> Query:
    """The query without its clauses on vectors."""
    copied = copy.deepcopy(query)
    for clause in clauses_in(copied):
        is_around_vector = clause.kind == "nested" and clause.options.get("query") == _MATCHES_NO_WORD
        if clause.kind == "knn" or is_around_vector:
            clause.replace(dict(_MATCHES_NO_WORD))
    return copied


def with_words_highlighted(body: dict[str, Any]) -> None:
    """Let each `highlight` read the words of the search's queries, unless it names a query, in place."""
    options_with_highlight = [options for options in hit_options(body) if isinstance(options.get("highlight"), dict)]
    if not options_with_highlight:
        return
    queries = [words_of(query) for query in scoring_queries(body)]
    words = {"bool": {"should": queries}} if queries else _MATCHES_NO_WORD
    for options in options_with_highlight:
        options["highlight"] = {"highlight_query": words, **options["highlight"]}
