"""Decides by a request's method and raw path which handler answers it. The only place that reads paths.

The raw path counts: `%2F` inside an index name is not a separator.
"""

from typing import Literal, NamedTuple
from urllib.parse import parse_qsl, unquote

from starlette.types import Scope

Handler = Literal[
    "management", "search", "async_search", "multi_search", "query", "no_ranking", "write", "pass_through"
]
_SEARCHES: dict[str, Handler] = {"_search": "search", "_async_search": "async_search", "_msearch": "multi_search"}
_WITHOUT_RANKING = ("_delete_by_query", "_update_by_query", "_reindex", "_rank_eval")
_TEMPLATES = (["_search", "template"], ["_msearch", "template"])
_WRITES = ("_doc", "_create", "_update", "_bulk")


class Route(NamedTuple):
    """The handler of a request, and the parts of its path."""

    handler: Handler
    target: str
    """The index expression of the path, decoded; empty where the path names none."""
    name: str = ""
    """The API's name in the path."""


def route_of(scope: Scope) -> Route:
    """The route of an HTTP request. `pass_through`: Elasticsearch answers it alone."""
    steps = [unquote(step) for step in raw_path(scope).strip("/").split("/")]
    target = steps[0] if len(steps) > 1 and not steps[0].startswith("_") else ""
    if steps[0] == "_esblend":
        return Route("management", "")
    if scope["method"] in ("GET", "POST") and len(steps) <= 2 and steps[-1] in _SEARCHES and has_search(scope):
        return Route(_SEARCHES[steps[-1]], target)
    if scope["method"] in ("GET", "POST") and has_body(scope):
        if _takes_query(steps):
            return Route("query", target)
        if steps[-1] in _WITHOUT_RANKING and len(steps) <= 2:
            return Route("no_ranking", target, steps[-1])
        if steps[-2:] in _TEMPLATES and len(steps) <= 3:
            return Route("no_ranking", target, "/".join(steps[-2:]))
    if scope["method"] in ("PUT", "POST") and (steps[-1] == "_bulk" or (len(steps) >= 2 and steps[1] in _WRITES)):
        return Route("write", target)
    return Route("pass_through", target)


def _takes_query(steps: list[str]) -> bool:
    """`_count`, `_validate/query` and `_explain/{id}`, with or without an index."""
    is_count = steps[-1] == "_count" and len(steps) <= 2
    is_validation = steps[-2:] == ["_validate", "query"] and len(steps) <= 3
    return is_count or is_validation or (len(steps) == 3 and steps[1] == "_explain")


def raw_path(scope: Scope) -> str:
    """The path as the caller wrote it, percent signs included."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.decode("latin-1")


def url_parameters(scope: Scope) -> dict[str, str]:
    return dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))


def has_search(scope: Scope) -> bool:
    """Whether a request has a body, or `source` in its URL in place of one."""
    return has_body(scope) or b"source=" in scope["query_string"]


def has_body(scope: Scope) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
