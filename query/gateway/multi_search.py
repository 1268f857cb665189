"""`_msearch`: its searches that ask for fusion are answered here, the rest by Elasticsearch in one request of their own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from elasticsearch import ApiError

from esblend import surrogate_json
from esblend.elasticsearch_connection import error_body
from esblend.errors import EsblendError, InvalidRequest, MalformedRequest

MAX_SEARCHES = 1000


@dataclass(frozen=True)
class Item:
    """One search of an `_msearch`: its header line and its body."""

    header: dict[str, Any]
    body: dict[str, Any]


def parse_items(raw: bytes) -> list[Item]:
    """The searches of an NDJSON body, in order. Raises MalformedRequest or InvalidRequest."""
    lines = raw.split(b"\n")
    if lines and not lines[-1].strip():
        lines.pop()
    if len(lines) % 2:
        raise MalformedRequest("an [_msearch] has a header line and a body line for each search")
    items = []
    for number in range(0, len(lines), 2):
        try:
            header = surrogate_json.loads(lines[number]) if lines[number].strip() else {}
            body = surrogate_json.loads(lines[number + 1])
        except ValueError as error:
            raise MalformedRequest(f"search {number // 2} of the [_msearch] is no JSON: {error}") from error
        if not isinstance(header, dict) or not isinstance(body, dict):
            raise MalformedRequest(f"search {number // 2} of the [_msearch] must be a JSON object, its header too")
        items.append(Item(header, body))
    if len(items) > MAX_SEARCHES:
        raise InvalidRequest(f"the [_msearch] has {len(items)} searches; at most {MAX_SEARCHES} are allowed")
    return items


def target_of(header: dict[str, Any], default: str) -> str:
    """The index or indices that one search goes to."""
    index = header.get("index", default)
    return ",".join(map(str, index)) if isinstance(index, list) else str(index)


def parameters_of(header: dict[str, Any], given: dict[str, str]) -> dict[str, str]:
    """What the header line and the URL say, as URL parameters of a single search."""
    known = {key: value for key, value in given.items() if key in ("typed_keys", "rest_total_hits_as_int")}
    for key, value in header.items():
        if key != "index":
            known[key] = str(value).lower() if isinstance(value, bool) else str(value)
    return known


def lines_of(items: Sequence[Item]) -> list[dict[str, Any]]:
    return [line for item in items for line in (item.header, item.body)]


def in_place_of(error: EsblendError | ApiError) -> dict[str, Any]:
    """What stands in `responses` for a search that failed."""
    if isinstance(error, ApiError):
        return {**error_body(error), "status": error.meta.status}
    return {**error.body(), "status": error.status}
