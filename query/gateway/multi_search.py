"""`_msearch`: the gateway answers fused searches, and sends all others to Elasticsearch in one request, unchanged."""

import asyncio
import time
from typing import Any

from elastic_transport import TransportError
from elasticsearch import ApiError
from starlette.types import Receive, Scope, Send

from esblend.disconnect import unless_caller_leaves
from esblend.elasticsearch_connection import error_body
from esblend.errors import EsblendError, MalformedRequest, UpstreamUnavailable
from query.gateway.bodies import body_stream, decompressed, is_fused_search, may_use_extensions, read_up_to
from query.gateway.body_formats import refuse_other_formats
from query.gateway.context import GatewayContext
from query.gateway.embed_texts import Changes, embed_texts
from query.gateway.expensive_searches import items_of_one_request
from query.gateway.media_types import check_accept
from query.gateway.multi_search_lines import (
    Item,
    lines_of,
    parameters_of,
    parse_items,
    refuse_unknown_parameters,
    target_of,
)
from query.gateway.passage_texts import add_texts
from query.gateway.proxy import forward
from query.gateway.responses import json_response, nested_too_deeply, with_degraded
from query.gateway.retriever_choice import is_answered_here
from query.gateway.routing import Route, raw_path, url_parameters
from query.gateway.search_handler import fused_search

_MAX_CONCURRENT = 8
"""Fused searches of one request that run at once while no other request searches, unless
`max_concurrent_searches` names a lower number."""
_PARSED_AT_ONCE = 50
"""Searches between two turns of other callers."""


async def multi_search(context: GatewayContext, route: Route, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer an `_msearch`."""
    chunks, ended = await read_up_to(context.settings.gateway_max_search_body, receive)
    if not ended:
        await forward(context.upstream, scope, body_stream(chunks, receive, ended=False), receive, send)
        return
    raw = b"".join(chunks)
    lines = decompressed(raw, scope)
    refuse_other_formats(lines, scope)
    if not may_use_extensions(lines):
        await forward(context.upstream, scope, raw, receive, send)
        return
    with context.share.request():
        response, headers = await unless_caller_leaves(receive, _answered(context, scope, route.target, lines))
    if response is None:
        await forward(context.upstream, scope, raw, receive, send)
    else:
        check_accept(scope)
        await (await json_response(scope, response, headers))(scope, receive, send)


async def _answered(
    context: GatewayContext, scope: Scope, target: str, lines: bytes
) -> tuple[dict[str, Any] | None, dict[str, str]]:
    items = []
    try:
        for item in parse_items(lines):
            items.append(item)
            if len(items) % _PARSED_AT_ONCE == 0:
                await asyncio.sleep(0)  # other callers get their turn, and the work ends when this one has left
    except MalformedRequest:
        if is_fused_search(lines):
            raise
        return None, {}  # Elasticsearch reports the error
    return await MultiSearch(context, scope, target, items).run()


class MultiSearch:
    """The searches of one request."""

    def __init__(self, context: GatewayContext, scope: Scope, target: str, items: list[Item]) -> None:
        self._context = context
        self._scope = scope
        self._target = target
        self._items = items
        self._given = url_parameters(scope)
        self._changes: dict[int, Changes] = {}
        self.responses: list[dict[str, Any] | None] = [None] * len(items)

    async def run(self) -> tuple[dict[str, Any] | None, dict[str, str]]:
        """The response and its headers; no response when Elasticsearch can answer all searches unchanged."""
        began = time.monotonic()
        with items_of_one_request():
            await self._answer_all()
        rest = [number for number, response in enumerate(self.responses) if response is None]
        if len(rest) == len(self._items) and not any(item.is_changed for item in self._items):
            return None, {}
        headers = await self._ask_elasticsearch(rest) if rest else {}
        responses = [response or {} for response in self.responses]
        took = max([int((time.monotonic() - began) * 1000), *(response.get("took", 0) for response in responses)])
        return {"took": took, "responses": responses}, headers

    def _max_concurrent(self) -> int:
        given = self._given.get("max_concurrent_searches", "")
        return min(int(given), _MAX_CONCURRENT) if given.isdigit() and int(given) > 0 else _MAX_CONCURRENT

    async def _answer_all(self) -> None:
        most, running = self._max_concurrent(), set[asyncio.Task[None]]()
        async with asyncio.TaskGroup() as tasks:
            for number in range(len(self._items)):
                while len(running) >= self._context.share.at_once(most):
                    _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                running.add(tasks.create_task(self.answer(number)))
                # Each search is a task: other requests get their turn, even during a thousand searches that never wait.

    async def answer(self, number: int) -> None:
        """Answer a fused search; leave any other for Elasticsearch, with vectors in place of its texts."""
        item = self._items[number]
        target = target_of(item.header, self._target)
        try:
            parameters = parameters_of(item.header, self._given)
            is_fused = await is_answered_here(self._context, self._scope, item.body, target, parameters)
            changes = await embed_texts(self._context, self._scope, item.body, target, parameters, is_fused=is_fused)
            item.is_changed = changes.is_changed
            self._changes[number] = changes
            if not is_fused:
                return
            refuse_unknown_parameters(self._given)
            fused = await fused_search(self._context, self._scope, item.body, target, parameters, changes)
            response, _ = with_degraded(*fused, changes.degraded)
            self.responses[number] = {**response, "status": 200}
        except (EsblendError, ApiError) as error:
            self.responses[number] = _failed(error)
        except RecursionError:
            self.responses[number] = _failed(nested_too_deeply())
        except TransportError:
            self.responses[number] = _failed(UpstreamUnavailable("the gateway cannot reach Elasticsearch"))

    async def _ask_elasticsearch(self, rest: list[int]) -> dict[str, str]:
        """Fill in the responses of searches that do not fuse. Returns Elasticsearch's headers for the caller."""
        parameters = {key: value for key, value in self._given.items() if key != "filter_path"}
        answer = await self._context.upstream.post(
            raw_path(self._scope),
            headers=self._scope["headers"],
            params=parameters,
            body=lines_of([self._items[number] for number in rest]),
        )
        for number, response in zip(rest, answer.body["responses"], strict=True):
            item, changes = self._items[number], self._changes[number]
            target, options = target_of(item.header, self._target), parameters_of(item.header, self._given)
            await add_texts(self._context, self._scope, target, options, item.body, changes, response)
            self.responses[number] = with_degraded(response, {}, changes.degraded)[0]
        return dict(answer.headers)


def _failed(error: EsblendError | ApiError) -> dict[str, Any]:
    if isinstance(error, ApiError):
        return {**error_body(error), "status": error.meta.status}
    return {**error.body(), "status": error.status}
