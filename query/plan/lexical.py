"""BM25 queries over several fields, and field names with boosts."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

_OF_COMBINED_FIELDS = frozenset(("operator", "minimum_should_match"))
_OF_MULTI_MATCH = frozenset(("type", "tie_breaker"))
"""Options that `match` does not have."""


def lexical_query(
    text: str, fields: Sequence[str], options: Mapping[str, Any] = MappingProxyType({}), *, same_analyzer: bool
) -> dict[str, Any]:
    """BM25 over several fields. Fields with the same analyzer are scored as one field (BM25F, Robertson et al., CIKM 2004);
    otherwise the score is the sum of each field's score. BM25F accepts no boost below 1, and only some of the `options` of
    `multi_match`."""
    if len(fields) == 1 and not {"^", "*"} & set(fields[0]) and not _OF_MULTI_MATCH & options.keys():
        return {"match": {fields[0]: {"query": text, **options}}}
    # A wildcard that remains matches no text field; combined_fields accepts text fields only.
    is_combined = same_analyzer and all(boost_of(field) >= 1 and "*" not in field for field in fields)
    if is_combined and options.keys() <= _OF_COMBINED_FIELDS:
        return {"combined_fields": {"query": text, "fields": list(fields), **options}}
    return {"multi_match": {"query": text, "fields": list(fields), "type": "most_fields", **options}}


def boost_of(field: str) -> float:
    """The boost of `title^2`. 0 when it is not a number; Elasticsearch then explains the error."""
    try:
        return float(field.partition("^")[2] or 1)
    except ValueError:
        return 0.0
