"""The NDJSON lines of an `_msearch`: pairs of a header and a body."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from esblend import exact_json
from esblend.errors import InvalidRequest, MalformedRequest, UnreadableField
from query.gateway.duplicate_keys import duplicate_key
from query.language.url_parameters import WITHOUT_EFFECT

MAX_SEARCHES = 1000
_OF_SEARCHES = frozenset((
    "typed_keys", "rest_total_hits_as_int", "search_type", "routing", "ignore_unavailable", "allow_no_indices", "expand_wildcards",
))  # fmt: skip
"""URL parameters that hold for each search."""
_OF_REQUEST = WITHOUT_EFFECT | {"max_concurrent_searches", "filter_path", "pretty", "human", "error_trace"}


@dataclass
class Item:
    """One search of an `_msearch`: its original lines, and their parsed content."""

    lines: tuple[bytes, bytes]
    header: dict[str, Any]
    body: dict[str, Any]
    is_changed: bool = False
    """Whether `body` differs from its line."""


def parse_items(raw: bytes) -> Iterator[Item]:
    """The searches of an NDJSON body, in order, each parsed when it is asked for. Raises MalformedRequest or InvalidRequest."""
    lines = raw.split(b"\n")
    if lines and not lines[-1].strip():
        lines.pop()
    if len(lines) % 2:
        raise MalformedRequest("an [_msearch] has a header line and a body line for each search")
    if len(lines) // 2 > MAX_SEARCHES:
        raise InvalidRequest(f"the [_msearch] has {len(lines) // 2} searches; at most {MAX_SEARCHES} are allowed")
    return (_item(number, *lines[2 * number : 2 * number + 2]) for number in range(len(lines) // 2))


def _item(number: int, header_line: bytes, body_line: bytes) -> Item:
    try:
        header = exact_json.loads(header_line) if header_line.strip() else {}
        body = exact_json.loads(body_line)
    except ValueError as error:
        raise MalformedRequest(f"search {number} of the [_msearch] is not JSON: {error}") from error
    if not isinstance(header, dict) or not isinstance(body, dict):
        raise MalformedRequest(f"search {number} of the [_msearch] must be a JSON object, and so must its header")
    twice = duplicate_key(body_line, body)
    if twice is not None:
        raise UnreadableField(f"search {number} of the [_msearch]: Duplicate field '{twice}'")
    return Item((header_line, body_line), header, body)


def target_of(header: dict[str, Any], default: str) -> str:
    """The index expression that one search goes to."""
    index = header.get("index", header.get("indices", default))
    return ",".join(map(str, index)) if isinstance(index, list) else str(index)


def parameters_of(header: dict[str, Any], given: dict[str, str]) -> dict[str, str]:
    """The header line and the URL, as URL parameters of a single search. The header line takes precedence."""
    parameters = {key: value for key, value in given.items() if key in _OF_SEARCHES}
    for key, value in header.items():
        if key not in ("index", "indices"):
            parameters[key] = str(value).lower() if isinstance(value, bool) else str(value)
    return parameters


def refuse_unknown_parameters(given: dict[str, str]) -> None:
    """Raises InvalidRequest on a URL parameter that has no effect on a fused search in an `_msearch`."""
    for key in given:
        if key not in _OF_REQUEST and key not in _OF_SEARCHES:
            raise InvalidRequest(f"URL parameter [{key}] cannot be combined with a fused search in an [_msearch]")


def lines_of(items: Sequence[Item]) -> bytes:
    """NDJSON for Elasticsearch: the original lines, except for changed bodies."""
    lines = (
        line
        for item in items
        for line in (item.lines[0], exact_json.dumps(item.body) if item.is_changed else item.lines[1])
    )
    return b"\n".join(lines) + b"\n"
