"""APIs other than `_search` that take a query: esblend's clauses are replaced, or rejected where a ranking makes no sense.

_count, _explain, _validate/query                               -> the query with its clauses replaced, to Elasticsearch
_delete_by_query, _update_by_query, _reindex, templates, _rank_eval -> refused, with the request to use instead
"""

from typing import Any

from starlette.types import Receive, Scope, Send

from esblend import exact_json
from esblend.disconnect import unless_caller_leaves
from esblend.errors import InvalidRequest
from query.gateway.bodies import body_stream, decompressed, parse_extended_body, read_up_to
from query.gateway.context import GatewayContext
from query.gateway.embed_texts import embed_texts
from query.gateway.proxy import forward
from query.gateway.responses import ENTITY_HEADERS
from query.gateway.routing import Route, url_parameters
from query.language.clauses import ranked_clauses
from query.language.search_body import fuses_legs

_BY_QUERY = (
    "a ranking does not say which documents to change: search with it, then send the ids of the hits as an [ids] query"
)
_TEMPLATE = "the gateway does not render templates: send the response of [_render/template] to [_search]"
INSTEAD = {
    "_delete_by_query": _BY_QUERY,
    "_update_by_query": _BY_QUERY,
    "_reindex": _BY_QUERY,
    "template": _TEMPLATE,
    "_rank_eval": "measure with [esblend eval], which reads the same judgements",
}
"""Why an API cannot execute esblend's queries, by the last step of its path."""


async def query_api(context: GatewayContext, route: Route, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request. Raises EsblendError."""
    chunks, ended = await read_up_to(context.settings.gateway_max_search_body, receive)
    if not ended:
        await forward(context.upstream, scope, body_stream(chunks, receive, ended=False), receive, send)
        return
    raw = b"".join(chunks)
    body = parse_extended_body(raw, scope)
    if body is not None:
        changes = await unless_caller_leaves(
            receive, embed_texts(context, scope, body, route.target, url_parameters(scope))
        )
        if changes.is_changed:
            raw = exact_json.dumps(body)
            scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] not in ENTITY_HEADERS]}
    await forward(context.upstream, scope, raw, receive, send)


async def refuse_rankings(context: GatewayContext, route: Route, scope: Scope, receive: Receive, send: Send) -> None:
    """Forward a request of an API that cannot execute esblend's queries. Raises InvalidRequest when it has one."""
    chunks, ended = await read_up_to(context.settings.gateway_max_search_body, receive)
    raw = b"".join(chunks)
    bodies = _bodies(route, scope, raw) if ended else []
    name = route.name
    if any(_ranks(search) for body in bodies for search in _searches(body)):
        raise InvalidRequest(f"[{name}] cannot execute esblend's queries: {INSTEAD[name.rpartition('/')[2]]}")
    await forward(context.upstream, scope, body_stream(chunks, receive, ended=ended), receive, send)


def _bodies(route: Route, scope: Scope, raw: bytes) -> list[dict[str, Any]]:
    """The JSON of a request that may be esblend's: its body, or every second line of a multi search."""
    parts = [raw]
    if route.name == "_msearch/template":
        parts = decompressed(raw, scope).split(b"\n")[1::2]
        scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] not in ENTITY_HEADERS]}
    parsed = (parse_extended_body(part, scope, in_strings=True) for part in parts)
    return [body for body in parsed if body is not None]


def _searches(body: dict[str, Any]) -> list[Any]:
    """The search bodies in a request."""
    source = body.get("source")
    if isinstance(source, str):  # a template; it is JSON unless it has sections
        try:
            source = exact_json.loads(source.encode())
        except ValueError:
            source = None
    listed = body.get("requests")
    items = listed if isinstance(listed, list) else []
    rated = [item.get("request") for item in items if isinstance(item, dict)]
    return [body, source, *rated]


def _ranks(body: Any) -> bool:
    """Whether a search body has a query that only esblend knows."""
    if not isinstance(body, dict):
        return False
    return fuses_legs(body) or any(
        clause.kind in ("hybrid", "neural") or (clause.kind == "semantic" and "field" not in clause.options)
        for clause in ranked_clauses(body)
    )
