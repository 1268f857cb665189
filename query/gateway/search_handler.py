"""`_search` and `_async_search`: the gateway answers fused searches, and Elasticsearch all others.

body -> semantic clauses become kNN -> fused? -> yes: session (plan, legs, fusion, page)
                                             -> no:  Elasticsearch, with the changed body
"""

from typing import Any

from starlette.types import Receive, Scope, Send

from esblend import exact_json
from esblend.disconnect import unless_caller_leaves
from esblend.metrics import SEARCH_SECONDS, SEARCHES, timed
from query.gateway import async_search
from query.gateway.bodies import body_stream, parse_extended_body, read_up_to, with_source
from query.gateway.buffered_response import BufferedResponse
from query.gateway.context import GatewayContext
from query.gateway.embed_texts import Changes, embed_texts
from query.gateway.media_types import check_accept
from query.gateway.passage_texts import add_texts
from query.gateway.proxy import forward
from query.gateway.responses import ENTITY_HEADERS, json_response, with_degraded
from query.gateway.retriever_choice import is_answered_here
from query.gateway.routing import Route, url_parameters
from query.language.search_body import parse_search
from query.language.tree import Hybrid
from query.language.url_parameters import apply_parameters
from query.run.session import Session


async def search(context: GatewayContext, route: Route, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one search."""
    chunks, ended = await read_up_to(context.settings.gateway_max_search_body, receive)
    if not ended:  # too large to parse: Elasticsearch decides
        await forward(context.upstream, scope, body_stream(chunks, receive, ended=False), receive, send)
        return
    raw = b"".join(chunks)
    given_scope, given_raw = scope, raw
    if not raw.strip():
        scope, raw = with_source(scope, raw)
    body = parse_extended_body(raw, scope)
    if body is None:
        await forward(context.upstream, given_scope, given_raw, receive, send)
        return
    is_async = route.handler == "async_search"
    given = url_parameters(scope)
    is_fused = await is_answered_here(context, scope, body, route.target, given)
    if is_fused:
        check_accept(scope)
    if is_async and is_fused:
        given = async_search.without_own_parameters(given)
    if is_fused:
        with context.share.request():
            fused = _embed_and_search(context, scope, body, route.target, given)
            response, headers = await unless_caller_leaves(receive, fused)
        response = async_search.finished(response) if is_async else response
        await (await json_response(scope, response, headers))(scope, receive, send)
        return
    with context.share.request():
        changes = await unless_caller_leaves(receive, embed_texts(context, scope, body, route.target, given))
    if changes.is_changed:
        raw = exact_json.dumps(body)
        scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] not in ENTITY_HEADERS]}
    if not changes.degraded and not changes.shows_passages:
        await forward(context.upstream, scope, raw, receive, send)
        return
    if changes.shows_passages:
        check_accept(scope)
    await _forward_and_complete(context, route, scope, body, receive, send, changes)


async def _forward_and_complete(
    context: GatewayContext, route: Route, scope: Scope, body: dict[str, Any], receive: Receive, send: Send, changes: Changes
) -> None:  # fmt: skip
    """Elasticsearch's response with the reasons why a clause was searched lexically, and with the texts of passages."""
    scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]
    response = BufferedResponse()
    await forward(context.upstream, scope, exact_json.dumps(body), receive, response.take)
    content = await response.json()
    if content is not None:
        await add_texts(context, scope, route.target, url_parameters(scope), body, changes, content)
        content, headers = with_degraded(content, {}, changes.degraded)
        response.replace(content, headers)
    await response.pass_on(send)


async def _embed_and_search(
    context: GatewayContext, scope: Scope, body: dict[str, Any], target: str, given: dict[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """As `fused_search`, after the vectors of its other clauses have been inserted."""
    changes = await embed_texts(context, scope, body, target, given, is_fused=True)
    return with_degraded(*await fused_search(context, scope, body, target, given, changes), changes.degraded)


async def fused_search(
    context: GatewayContext,
    scope: Scope,
    body: dict[str, Any],
    target: str,
    given_parameters: dict[str, str],
    changes: Changes,
) -> tuple[dict[str, Any], dict[str, str]]:
    """The response to a search that fuses legs, and Elasticsearch's headers for it. Raises EsblendError."""
    body, parameters = apply_parameters(body, given_parameters)
    tree = parse_search(body)
    session = Session(context.services(scope), context.caller(scope), target, parameters, tree)
    kind = "hybrid" if isinstance(tree.ranking, Hybrid) else "retriever"
    try:
        with timed(SEARCH_SECONDS.labels(kind)):
            async with context.expensive.turn(tree, changes.parts):
                with context.searches.place():
                    response = await session.run()
                    await add_texts(context, scope, target, given_parameters, body, changes, response)
    except Exception:
        SEARCHES.labels(kind, "error").inc()
        raise
    SEARCHES.labels(kind, "answered").inc()
    return response, session.headers
