"""Writes with `wait_for=embedded`: Elasticsearch's response, once the written documents have vectors of their current texts."""

import time
from collections.abc import AsyncIterator
from typing import Any

import structlog
from elastic_transport import TransportError
from elasticsearch import ApiError
from starlette.types import Receive, Scope, Send

from esblend.disconnect import unless_caller_leaves
from esblend.endpoint_http import seconds
from esblend.errors import EsblendError, MalformedRequest
from query.gateway.bodies import MAX_BODY, body_stream, decompressed
from query.gateway.buffered_response import BufferedResponse
from query.gateway.bulk_guard import GuardedBulk, GuardedIndices, guarded_body, is_bulk
from query.gateway.context import GatewayContext
from query.gateway.letters_of_writes import Letters
from query.gateway.proxy import forward
from query.gateway.routing import Route, has_body, url_parameters
from query.gateway.wait_for_embedded import refresh_if_asked, wait_until_embedded, without_wait
from query.gateway.written_documents import written_documents

log = structlog.get_logger()


async def write_and_wait(
    context: GatewayContext, indices: GuardedIndices, route: Route, scope: Scope, receive: Receive, send: Send
) -> None:
    """Forward a write, then wait until its documents have their vectors or the time is over.

    All checks happen before the write. Afterwards the response is the write's own, with an "esblend" object on the vectors.
    """
    deadline = time.monotonic() + seconds(url_parameters(scope).get("timeout", "60s"))
    plain = without_wait(scope)
    body = bytearray()
    async for chunk in body_stream([], receive, ended=not has_body(scope)):
        body += chunk
        if len(body) > MAX_BODY:
            raise MalformedRequest(f"the body of a write with [wait_for=embedded] is larger than {MAX_BODY} bytes")
    raw = bytes(body)
    lines = decompressed(raw, scope)
    response = BufferedResponse()
    sent: bytes | AsyncIterator[bytes] = raw
    if is_bulk(plain):
        plain, sent = await guarded_body(GuardedBulk(context, indices, route, plain), plain, raw)
    await forward(context.upstream, plain, sent, receive, response.take)
    content = await response.json()
    if content is not None:
        waited = await unless_caller_leaves(receive, _wait(context, scope, lines, content, deadline))
        response.replace({**content, "esblend": waited})
    await response.pass_on(send)


async def _wait(
    context: GatewayContext, scope: Scope, lines: bytes, content: dict[str, Any], deadline: float
) -> dict[str, Any]:
    """The outcome for the documents. The write has happened, so errors here must not replace its response."""
    try:
        es = context.client_for(scope)
        documents = written_documents(scope, lines, content)
        requester = context.requester(scope, already_authorised=True)
        attached = await context.metadata.attached(requester, {document.index for document in documents})
        letters = Letters(context.own_es or es, {index: uuid for index, (uuid, _) in attached.items()})
        attachments = {index: attachment for index, (_, attachment) in attached.items()}
        waited = await wait_until_embedded(es, attachments, letters, documents, deadline=deadline)
        await refresh_if_asked(es, scope, documents)
    except (EsblendError, ApiError, TransportError) as error:
        return {"error": f"the write has happened, but its vectors cannot be observed: {_reason(error)}"}
    return waited


def _reason(error: EsblendError | ApiError | TransportError) -> str:
    if isinstance(error, EsblendError):
        return error.reason
    if isinstance(error, ApiError):
        return f"{error.error} ({error.meta.status})"
    return "the gateway cannot reach Elasticsearch"
