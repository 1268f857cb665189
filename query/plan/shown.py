"""Parts of a leg's query that add to hits, `inner_hits` and `_name`: absent from the ranking request, present in the page's."""

import copy
from typing import Any

from query.language.clauses import Clause, Query, clauses_in

_JOINS = ("nested", "has_child", "has_parent")


def is_shown(query: Query) -> bool:
    """Whether a query adds something to the hits that it matches."""
    return _has_key(query) and any(_adds(clause) for clause in clauses_in(query))


def bare(query: Query) -> Query:
    """The query without `inner_hits` and `_name`. A name from the caller could equal a name that esblend uses."""
    if not is_shown(query):
        return query
    copied = copy.deepcopy(query)
    for clause in clauses_in(copied):
        if isinstance(clause.options, dict):
            if clause.kind in _JOINS:
                clause.options.pop("inner_hits", None)
            for options in (clause.options, *_field_options(clause)):
                options.pop("_name", None)
    return copied


def _has_key(value: Any) -> bool:
    """Whether an object inside has a key that may add something. Most queries have none, and this takes a tenth of the time."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "_name" in value or "inner_hits" in value:
                return True
            waiting += value.values()
        elif isinstance(value, list):
            waiting += [item for item in value if isinstance(item, dict | list)]
    return False


def _adds(clause: Clause) -> bool:
    if not isinstance(clause.options, dict):
        return False
    has_inner_hits = clause.kind in _JOINS and "inner_hits" in clause.options
    return has_inner_hits or any("_name" in options for options in (clause.options, *_field_options(clause)))


def _field_options(clause: Clause) -> list[dict[str, Any]]:
    """The options of `{"match": {field: {...}}}`."""
    return [value for value in clause.options.values() if isinstance(value, dict)]
