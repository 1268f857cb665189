"""The gateway's own endpoints below `/_esblend`, with the caller's rights."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from elasticsearch import AsyncElasticsearch
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from esblend.errors import InvalidRequest, MalformedRequest
from esblend.settings import Settings
from mappings.attach import attach, detach, show
from mappings.attachment import ModelIdentity, parse_attach_request
from query.embedder import QueryEmbedder
from query.metadata import Metadata
from query.upstream import Upstream

StatusReader = Callable[[AsyncElasticsearch, str], Awaitable[BaseModel]]
"""Reads the status of an attached index; its model has `coverage`."""
PRODUCT = {"X-elastic-product": "Elasticsearch"}
_COVERAGE_POLL_SECONDS = 0.25
_MAX_BODY = 1 << 20
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Management:
    """The handlers. `as_caller(request)` gives an Elasticsearch client with the caller's credentials."""

    def __init__(
        self,
        settings: Settings,
        upstream: Upstream,
        metadata: Metadata,
        embedder: QueryEmbedder,
        read_status: StatusReader,
        as_caller: Callable[[Request], AsyncElasticsearch],
    ) -> None:
        self._settings = settings
        self._upstream = upstream
        self._metadata = metadata
        self._embedder = embedder
        self._read_status = read_status
        self._as_caller = as_caller

    def routes(self) -> list[Route]:
        return [
            Route("/_esblend/health/live", self.live, methods=["GET"]),
            Route("/_esblend/health/ready", self.ready, methods=["GET"]),
            Route("/_esblend/indices/{index}", self.put, methods=["PUT"]),
            Route("/_esblend/indices/{index}", self.get, methods=["GET"]),
            Route("/_esblend/indices/{index}", self.delete, methods=["DELETE"]),
            Route("/_esblend/indices/{index}/status", self.status, methods=["GET"]),
        ]

    async def live(self, _: Request) -> Response:
        return answer({"status": "live"})

    async def ready(self, _: Request) -> Response:
        if await self._upstream.is_reachable():
            return answer({"status": "ready"})
        return answer({"status": "not ready", "reason": "Elasticsearch cannot be reached"}, status=503)

    async def put(self, request: Request) -> Response:
        wanted = parse_attach_request(await _json(request))
        encoder = await self._embedder.load(wanted.model or self._settings.model)
        done = await attach(
            self._as_caller(request),
            request.path_params["index"],
            wanted,
            ModelIdentity(name=encoder.name, digest=encoder.digest, dims=encoder.dims),
            model_max_tokens=encoder.max_tokens,
            dry_run=_is_set(request, "dry_run"),
        )
        self._metadata.forget()
        content: dict[str, Any] = {"acknowledged": True, "index": done.index, "attachment": done.attachment.to_meta()}
        if _is_set(request, "dry_run"):
            content |= {"acknowledged": False, "dry_run": True, "mapping_additions": done.additions}
        return answer(content)

    async def get(self, request: Request) -> Response:
        index, attachment = await show(self._as_caller(request), request.path_params["index"])
        return answer({"index": index, "attachment": attachment.to_meta()})

    async def delete(self, request: Request) -> Response:
        index = await detach(self._as_caller(request), request.path_params["index"])
        self._metadata.forget()
        note = "the vectors stay in the documents and their fields in the mapping until the index is re-indexed"
        return answer({"acknowledged": True, "index": index, "remains": note})

    async def status(self, request: Request) -> Response:
        es, index = self._as_caller(request), request.path_params["index"]
        wanted = _coverage(request.query_params.get("wait_for_coverage"))
        deadline = time.monotonic() + _seconds(request.query_params.get("timeout", "60s"))
        while True:
            status = await self._read_status(es, index)
            body = {**status.model_dump(mode="json"), "encoder": self._embedder.describe()}
            if wanted is None or body["coverage"] >= wanted:
                return answer(body)
            if time.monotonic() >= deadline:
                return answer({**body, "timed_out": True}, status=408)
            await asyncio.sleep(_COVERAGE_POLL_SECONDS)


def answer(content: dict[str, Any], *, status: int = 200) -> Response:
    """Every answer of the gateway's own bears Elasticsearch's product header, which its clients insist on."""
    return JSONResponse(content, status, headers=PRODUCT)


async def _json(request: Request) -> Any:
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > _MAX_BODY:
            raise InvalidRequest(f"the body is larger than {_MAX_BODY} bytes")
    try:
        return orjson.loads(bytes(raw))
    except orjson.JSONDecodeError as error:
        raise MalformedRequest(f"the body is no JSON: {error}") from error


def _is_set(request: Request, name: str) -> bool:
    return request.query_params.get(name, "false") in ("", "true")


def _coverage(value: str | None) -> float | None:
    if value is None:
        return None
    try:
        wanted = float(value)
    except ValueError:
        wanted = -1.0
    if not 0 <= wanted <= 1:
        raise InvalidRequest(f"[wait_for_coverage] must be a number from 0 to 1, but is [{value}]")
    return wanted


def _seconds(value: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", value)
    if found is None:
        raise InvalidRequest(f"[timeout] must be a time as in [60s] or [2m], but is [{value}]")
    return min(3600.0, float(found.group(1)) * _UNITS[found.group(2)])
