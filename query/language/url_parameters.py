"""URL parameters of a search: some belong to the body, some to every request, and some cannot be combined with a fused search."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from esblend.errors import InvalidRequest

_WITH_EACH_REQUEST = (
    "routing",
    "preference",
    "ignore_unavailable",
    "allow_no_indices",
    "expand_wildcards",
    "search_type",
    "allow_partial_search_results",
)
_OF_THE_RESPONSE = ("typed_keys", "rest_total_hits_as_int", "pretty", "human", "error_trace", "filter_path")
_WITHOUT_EFFECT = frozenset((
    "batched_reduce_size", "ccs_minimize_roundtrips", "max_concurrent_shard_requests", "pre_filter_shard_size",
    "request_cache",
))  # fmt: skip


@dataclass(frozen=True)
class Parameters:
    """`header` goes into each `_msearch` header line, `response` into the URL of the gateway's own requests."""

    header: dict[str, Any] = field(default_factory=dict)
    response: dict[str, str] = field(default_factory=dict)


def apply_parameters(body: dict[str, Any], given: Mapping[str, str]) -> tuple[dict[str, Any], Parameters]:
    """The body with the URL's parameters merged in, and the other parameters. Raises InvalidRequest naming a parameter that
    cannot be combined with a fused search."""
    body = dict(body)
    header: dict[str, Any] = {}
    response: dict[str, str] = {}
    for name, value in given.items():
        if name in _WITH_EACH_REQUEST:
            header[name] = value
        elif name in _OF_THE_RESPONSE:
            response[name] = value
        elif name in ("size", "from"):
            body[name] = _whole_number(name, value)
        elif name == "track_total_hits":
            body[name] = value == "true" if value in ("true", "false") else _whole_number(name, value)
        elif name in ("explain", "version", "seq_no_primary_term", "track_scores"):
            body[name] = value != "false"
        elif name in ("docvalue_fields", "stored_fields"):
            body[name] = value.split(",")
        elif name == "sort":
            body[name] = [_sort_key(key) for key in value.split(",")]
        elif name == "format":
            if value != "json":
                raise InvalidRequest(f"[format={value}]: a fused search supports JSON only")
        elif name in ("timeout", "on_leg_failure"):
            body[name] = value
        elif name in ("_source", "_source_includes", "_source_excludes"):
            body["_source"] = _source(name, value, body.get("_source"))
        elif name not in _WITHOUT_EFFECT:
            raise InvalidRequest(f"URL parameter [{name}] cannot be combined with a fused search")
    return body, Parameters(header, response)


def _whole_number(name: str, value: str) -> int:
    try:
        return int(value)
    except ValueError as error:
        raise InvalidRequest(f"URL parameter [{name}] must be a whole number, but is [{value}]") from error


def _sort_key(key: str) -> Any:
    field, colon, order = key.rpartition(":")
    return {field: order} if colon else key


def _source(name: str, value: str, present: Any) -> Any:
    if name == "_source":
        return value == "true" if value in ("true", "false") else value.split(",")
    base = present if isinstance(present, dict) else {}
    return {**base, name.removeprefix("_source_"): value.split(",")}
