"""BM25 queries over several fields, and field names with boosts."""

from collections.abc import Sequence
from typing import Any


def lexical_query(text: str, fields: Sequence[str], *, same_analyzer: bool) -> dict[str, Any]:
    """BM25 over several fields. Fields with the same analyzer are scored as one field (BM25F, Robertson et al., CIKM 2004);
    otherwise the score is the sum of each field's score. BM25F accepts no boost below 1."""
    if len(fields) == 1 and not {"^", "*"} & set(fields[0]):
        return {"match": {fields[0]: {"query": text}}}
    if same_analyzer and all(boost_of(field) >= 1 for field in fields):
        return {"combined_fields": {"query": text, "fields": list(fields)}}
    return {"multi_match": {"query": text, "fields": list(fields), "type": "most_fields"}}


def boost_of(field: str) -> float:
    """The boost of `title^2`. 0 when it is not a number; Elasticsearch then explains the error."""
    try:
        return float(field.partition("^")[2] or 1)
    except ValueError:
        return 0.0
