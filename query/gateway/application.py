"""The gateway: every Elasticsearch API passes through; a search that asks for fusion is answered here.

client -> /_esblend/...            -> management
       -> .../_search, hybrid      -> parse, plan, legs, fusion, page
       -> anything else            -> Elasticsearch, byte for byte
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

import structlog
from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from esblend import surrogate_json
from esblend.caller_access import Access
from esblend.elasticsearch_connection import connect_async
from esblend.endpoint_http import seconds
from esblend.errors import EsblendError, Forbidden, MalformedRequest, ModelError, NotAttached
from esblend.metrics import PASSED, SEARCH_SECONDS, SEARCHES, timed
from esblend.settings import Settings
from query import playground
from query.admin.endpoints import Management
from query.gateway import async_search
from query.gateway.bodies import MAX_BODY, body_stream, decompressed, may_be_ours, parse_if_ours
from query.gateway.buffered_response import BufferedResponse
from query.gateway.cross_site import comes_from_another_site
from query.gateway.multi_search import Item, in_place_of, lines_of, parameters_of, parse_items, target_of
from query.gateway.request_id import REQUEST_ID, request_id, with_request_id
from query.gateway.responses import error_response, json_response, on_error, on_http_error, with_degraded
from query.gateway.wait_for_embedded import (
    asks_to_wait,
    parameters,
    refresh_if_asked,
    wait_until_embedded,
    without_wait,
    written_documents,
)
from query.language.opensearch import translate_neural
from query.language.search_body import is_ours, parse_search
from query.language.semantic import semantic_clauses, text_sections, text_to_embed
from query.language.tree import Hybrid
from query.language.url_parameters import apply_parameters
from query.run.cross_encoder import Reranker
from query.run.elasticsearch import Upstream
from query.run.exact_knn import ExactKnn
from query.run.query_encoder import QueryEmbedder
from query.run.requests import Caller
from query.run.semantic import is_for, is_vector_name, replace_semantic
from query.run.session import Services, Session
from query.targets.metadata import Metadata, Requester, indices_of

log = structlog.get_logger()
MakeRoutes = Callable[[Access, Callable[[], dict[str, Any]]], list[Route]]
"""Makes further endpoints below /_esblend, given whose rights they use and what the encoder says of itself."""


class Gateway:
    """The ASGI application."""

    def __init__(self, settings: Settings, make_routes: MakeRoutes) -> None:
        self._settings = settings
        self._upstream = Upstream(settings)
        self._embedder = QueryEmbedder(settings)
        self._reranker = Reranker(settings)
        self._exact_knn = ExactKnn(settings.exact_knn_documents)
        self._es: AsyncElasticsearch = connect_async(settings)
        self._bare_es: AsyncElasticsearch = connect_async(settings, credentials=False)

        own = self._es if settings.has_credentials else None
        access = Access(lambda request: self._as_caller(request.scope), own)
        self._metadata = Metadata(own)
        management = Management(settings, self._upstream, self._metadata, self._embedder, access)
        self._management: ASGIApp = Starlette(
            routes=[*playground.routes(), *management.routes(), *make_routes(access, self._embedder.describe)],
            exception_handlers={
                EsblendError: on_error, ApiError: on_error, TransportError: on_error, HTTPException: on_http_error,
                Exception: on_error,
            },
        )  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(self._running, receive, send)
        elif scope["type"] == "http":
            with bound_contextvars(request_id=request_id(scope)):
                await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if comes_from_another_site(scope):
            await error_response(Forbidden("requests from pages of other sites are refused"))(scope, receive, send)
        elif scope["path"].startswith("/_esblend"):
            await self._management(scope, receive, send)
        else:
            await self._elasticsearch(scope, receive, send)

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        await self._upstream.open()
        try:
            await self._embedder.load(self._settings.model)
        except ModelError as error:
            log.warning("the default model cannot be loaded; models of attached indices still can", reason=error.reason)
        yield
        self._embedder.close()
        self._reranker.close()
        await self._upstream.close()
        await self._es.close()
        await self._bare_es.close()

    async def _elasticsearch(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_once(message: Any) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            if _is_search(scope) or _is_search(scope, async_search.ENDPOINT):
                await self._search(scope, receive, send_once)
            elif _is_search(scope, "_msearch"):
                await self._multi_search(scope, receive, send_once)
            elif asks_to_wait(scope):
                await self._write_and_wait(scope, receive, send_once)
            else:
                PASSED.inc()
                body = None if _has_no_body(scope) else body_stream([], receive, ended=False)
                await self._upstream.forward(scope, body, send_once)
        except ConnectionResetError:
            log.info("the caller went away", path=scope["path"])
        except Exception as error:
            if started:  # the status line is out; all that can be done is to break the connection
                raise
            await error_response(error)(scope, receive, send)

    async def _search(self, scope: Scope, receive: Receive, send: Send) -> None:
        chunks, ended = await self._read(receive)
        raw = b"".join(chunks)
        body = parse_if_ours(raw, scope) if ended else None
        if body is None:
            await self._upstream.forward(scope, raw if ended else body_stream(chunks, receive, ended=False), send)
            return
        is_async = _is_search(scope, async_search.ENDPOINT)
        given = (
            async_search.without_own_parameters(parameters(scope)) if is_async and is_ours(body) else parameters(scope)
        )
        degraded = await self._replace_texts(scope, body, _target(scope), given)
        if is_ours(body):
            found, headers = with_degraded(*await self._fused(scope, body, _target(scope), given), degraded)
            found = async_search.finished(found) if is_async else found
            await json_response(scope, found, headers)(scope, receive, send)
            return
        if degraded is not None:
            raw = surrogate_json.dumps(body)
            scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] not in ENTITY_HEADERS]}
        if not degraded:
            await self._upstream.forward(scope, raw, send)
            return
        answer = BufferedResponse()
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]
        await self._upstream.forward(scope, raw, answer.take)
        content = answer.json()
        if content is not None:
            content, headers = with_degraded(content, {}, degraded)
            answer.replace(content, headers)
        await answer.pass_on(send)

    async def _write_and_wait(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A write that is answered when its documents have their vectors, or its time is over."""
        deadline = time.monotonic() + seconds(parameters(scope).get("timeout", "60s"))
        plain = without_wait(scope)
        body = b""
        async for chunk in body_stream([], receive, ended=_has_no_body(scope)):
            body += chunk
            if len(body) > MAX_BODY:
                raise MalformedRequest(f"the body of a write with [wait_for=embedded] is larger than {MAX_BODY} bytes")
        answer = BufferedResponse()
        await self._upstream.forward(plain, body, answer.take)
        content = answer.json()
        if content is not None:
            es = self._as_caller(scope)
            documents = written_documents(scope, body, content)
            reader = Requester(es, self._caller(scope).key, already_authorised=True)
            attached = await self._metadata.attached(reader, {one.index for one in documents})
            found = await wait_until_embedded(es, attached, documents, deadline=deadline)
            await refresh_if_asked(es, scope, documents)
            answer.replace({**content, "esblend": found})
        await answer.pass_on(send)

    async def _multi_search(self, scope: Scope, receive: Receive, send: Send) -> None:
        chunks, ended = await self._read(receive)
        raw = b"".join(chunks)
        plain = decompressed(raw, scope) if ended else b""
        if not may_be_ours(plain):
            await self._upstream.forward(scope, raw if ended else body_stream(chunks, receive, ended=False), send)
            return
        items = parse_items(plain)
        degraded: dict[int, list[str]] = {}
        answers = await asyncio.gather(*(self._one_of_many(scope, item, degraded) for item in items))
        rest = [item for item, found in zip(items, answers, strict=True) if found is None]
        path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
        began = time.monotonic()
        others: list[dict[str, Any]] = []
        if rest:
            given = {key: value for key, value in parameters(scope).items() if key != "filter_path"}
            answer = await self._upstream.request(
                "POST", path, headers=scope["headers"], params=given, body=lines_of(rest)
            )
            others = list(answer.body["responses"])
        responses = [
            with_degraded(others.pop(0), {}, degraded.get(id(item)))[0] if found is None else found
            for item, found in zip(items, answers, strict=True)
        ]
        took = max([int((time.monotonic() - began) * 1000), *(one.get("took", 0) for one in responses)])
        await json_response(scope, {"took": took, "responses": responses}, {})(scope, receive, send)

    async def _one_of_many(self, scope: Scope, item: Item, degraded: dict[int, list[str]]) -> dict[str, Any] | None:
        """The answer to one search of an `_msearch`, or its error; None when it is for Elasticsearch to answer. What it has to do
        without goes into `degraded`, by the item's identity."""
        target = target_of(item.header, _target(scope))
        try:
            given = parameters_of(item.header, parameters(scope))
            degraded[id(item)] = await self._replace_texts(scope, item.body, target, given) or []
            if not is_ours(item.body):
                return None
            found, _ = with_degraded(*await self._fused(scope, item.body, target, given), degraded[id(item)])
        except (EsblendError, ApiError) as error:
            return in_place_of(error)
        return {**found, "status": 200}

    async def _fused(
        self, scope: Scope, body: dict[str, Any], target: str, given_parameters: dict[str, str]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        body, given = apply_parameters(body, given_parameters)
        search = parse_search(body)
        services = Services(
            self._upstream, self._as_caller(scope), self._metadata, self._embedder, self._reranker, self._exact_knn
        )
        session = Session(services, self._caller(scope), target, given, search)
        kind = "hybrid" if isinstance(search.ranking, Hybrid) else "retriever"
        try:
            with timed(SEARCH_SECONDS.labels(kind)):
                found = await session.run()
        except Exception:
            SEARCHES.labels(kind, "error").inc()
            raise
        SEARCHES.labels(kind, "answered").inc()
        return found, session.headers

    async def _replace_texts(
        self, scope: Scope, body: dict[str, Any], name: str, given: dict[str, str]
    ) -> list[str] | None:
        """Turn `semantic` clauses, and texts in place of vectors, over attached indices into kNN. None: there were none; else the
        reasons why some could not be embedded.

        Those that name a field of an index without attachment are Elasticsearch's own and stay.
        """
        translate_neural(body)
        clauses, sections = list(semantic_clauses(body)), list(text_sections(body))
        if is_ours(body):  # the legs of a fused search have their own way of doing without a vector
            sections = []
        if not clauses and not sections:
            return None
        try:
            es, pit = self._as_caller(scope), body.get("pit")
            if isinstance(pit, dict):
                name = await indices_of(es, pit) or "-*"
            reader = Requester(es, self._caller(scope).key, already_authorised=isinstance(pit, dict), options=given)
            target = await self._metadata.target(reader, name or "*")
        except NotAttached:
            if all("field" in clause["semantic"] for clause in clauses):
                return None
            raise
        attachment = target.attachment
        sections = [section for section in sections if is_vector_name(section["field"], attachment)]
        for section in sections:
            text = text_to_embed(section.pop("query_vector_builder"))
            section["field"] = attachment.vector_field
            section["query_vector"] = await self._embedder.embed(text, attachment.generation)
        if not any(is_for(clause, attachment) for clause in clauses):
            return [] if sections else None
        start, size = body.get("from", 0), body.get("size", 10)
        wanted = start + size if isinstance(start, int) and isinstance(size, int) else 10
        return await replace_semantic(
            body,
            attachment,
            lambda text: self._embedder.embed(text, attachment.generation),
            k=min(10_000, max(100, wanted)),
        )

    async def _read(self, receive: Receive) -> tuple[list[bytes], bool]:
        """The body's chunks up to the limit of what is parsed, and whether that was all of it."""
        chunks: list[bytes] = []
        size = 0
        while size <= self._settings.gateway_max_search_body:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionResetError("the caller went away")
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if not message.get("more_body", False):
                return chunks, True
        return chunks, False

    def _as_caller(self, scope: Scope) -> AsyncElasticsearch:
        headers = with_request_id(scope["headers"])
        return self._bare_es.options(
            headers={name.decode(): value.decode("latin-1") for name, value in headers if name in _CALLER_HEADERS}
        )

    def _caller(self, scope: Scope) -> Caller:
        own = b"\0".join(name + value for name, value in scope["headers"] if name in _RIGHTS_HEADERS)
        return Caller(with_request_id(scope["headers"]), hashlib.sha256(own).hexdigest())


ENTITY_HEADERS = (b"content-length", b"content-encoding")
_RIGHTS_HEADERS = (
    b"authorization",
    b"es-client-authentication",
    b"es-security-runas-user",
    b"es-secondary-authorization",
)
_CALLER_HEADERS = (*_RIGHTS_HEADERS, REQUEST_ID, b"traceparent")


def _is_search(scope: Scope, endpoint: str = "_search") -> bool:
    """`/_search` or `/{target}/_search` with a body."""
    steps = scope["path"].strip("/").split("/")
    return scope["method"] in ("GET", "POST") and steps[-1] == endpoint and len(steps) <= 2 and not _has_no_body(scope)


def _target(scope: Scope) -> str:
    raw = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1").strip("/").split("/")
    return unquote(raw[0]) if len(raw) == 2 else ""


def _has_no_body(scope: Scope) -> bool:
    return not any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])


async def _lifespan(running: Any, receive: Receive, send: Send) -> None:
    await receive()
    try:
        async with running():
            await send({"type": "lifespan.startup.complete"})
            await receive()
    except Exception as error:
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        raise
    await send({"type": "lifespan.shutdown.complete"})
