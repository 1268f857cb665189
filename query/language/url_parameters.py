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
WITHOUT_EFFECT = frozenset((
    "batched_reduce_size", "ccs_minimize_roundtrips", "max_concurrent_shard_requests", "pre_filter_shard_size",
    "request_cache",
))  # fmt: skip
_BOOLEANS = frozenset((
    "ccs_minimize_roundtrips", "request_cache", "rest_total_hits_as_int", "pretty", "human", "error_trace",
    "allow_partial_search_results",
))  # fmt: skip
_LOWEST = {"batched_reduce_size": 2, "max_concurrent_shard_requests": 1, "pre_filter_shard_size": 1}
_FLAGS = ("explain", "version", "seq_no_primary_term", "track_scores")
_LISTS = ("docvalue_fields", "stored_fields")
_SOURCE = ("_source", "_source_includes", "_source_excludes")
_AS_IN_BODY = ("timeout", "on_leg_failure")
KNOWN = WITHOUT_EFFECT | {
    *_WITH_EACH_REQUEST, *_OF_THE_RESPONSE, *_FLAGS, *_LISTS, *_SOURCE, *_AS_IN_BODY, "size", "from", "track_total_hits", "sort",
    "format",
}  # fmt: skip
"""All parameters of a fused search."""


@dataclass(frozen=True)
class Parameters:
    """`header` goes into each `_msearch` header line, `response` into the URL of the gateway's own requests."""

    header: dict[str, Any] = field(default_factory=dict)
    response: dict[str, str] = field(default_factory=dict)


AS_CLAUSE = frozenset(("scroll", "terminate_after", "stats", "max_concurrent_searches"))
"""Parameters of a search that only Elasticsearch can execute."""


def clause_parameters(given: Mapping[str, str]) -> Parameters:
    """The parameters for requests that rank by a clause of a search which Elasticsearch executes."""
    header = {name: value for name, value in given.items() if name in _WITH_EACH_REQUEST}
    return Parameters({name: value for name, value in header.items() if name != "search_type"})


def apply_parameters(body: dict[str, Any], given: Mapping[str, str]) -> tuple[dict[str, Any], Parameters]:
    """The body with the URL's parameters merged in, and the other parameters. Raises InvalidRequest naming a parameter that
    cannot be combined with a fused search."""
    body = dict(body)
    header: dict[str, Any] = {}
    response: dict[str, str] = {}
    for name, value in given.items():
        _check_value(name, value)
        if name in _WITH_EACH_REQUEST:
            header[name] = value
        elif name in _OF_THE_RESPONSE:
            response[name] = value
        elif name in ("size", "from"):
            body[name] = _whole_number(name, value)
        elif name == "track_total_hits":
            body[name] = value == "true" if value in ("true", "false") else _whole_number(name, value)
        elif name in _FLAGS:
            body[name] = value or "true"
        elif name in _LISTS:
            body[name] = value.split(",")
        elif name == "sort":
            body[name] = [_sort_key(key) for key in value.split(",")]
        elif name == "format":
            if value != "json":
                raise InvalidRequest(f"[format={value}]: a fused search supports JSON only")
        elif name in _AS_IN_BODY:
            body[name] = value
        elif name in _SOURCE:
            body["_source"] = _source(name, value, body.get("_source"))
        elif name not in WITHOUT_EFFECT:
            raise InvalidRequest(f"URL parameter [{name}] cannot be combined with a fused search")
    if response.get("rest_total_hits_as_int", "false") in ("", "true"):
        body["track_total_hits"] = _exact_total(body.get("track_total_hits", True))
    return body, Parameters(header, response)


def _check_value(name: str, value: str) -> None:
    """Raises InvalidRequest on a value that Elasticsearch rejects, of a parameter that it does not receive."""
    if name in _BOOLEANS and value not in ("", "true", "false"):
        raise InvalidRequest(f"Failed to parse value [{value}] as only [true] or [false] are allowed.")
    if name in _LOWEST and _whole_number(name, value) < _LOWEST[name]:
        raise InvalidRequest(f"URL parameter [{name}] is {value}; it must be at least {_LOWEST[name]}")


def _exact_total(given: Any) -> Any:
    """`track_total_hits` beside `rest_total_hits_as_int`. Raises InvalidRequest when the number would not be exact."""
    if isinstance(given, bool) or given in ("true", "false", -1):
        return given
    raise InvalidRequest(
        f"[rest_total_hits_as_int] cannot be used if the tracking of total hits is not accurate, got {given}"
    )


def _whole_number(name: str, value: str) -> int:
    try:
        return int(value)
    except ValueError as error:
        raise InvalidRequest(f"Failed to parse int parameter [{name}] with value [{value}]") from error


def _sort_key(key: str) -> Any:
    field, colon, order = key.rpartition(":")
    return {field: order} if colon else key


def _source(name: str, value: str, present: Any) -> Any:
    if name == "_source":
        return value == "true" if value in ("true", "false") else value.split(",")
    base = present if isinstance(present, dict) else {}
    return {**base, name.removeprefix("_source_"): value.split(",")}
