"""The indexer's endpoints below `/_esblend`: status, backfill, dead letters. The gateway serves them, with the caller's rights."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from elasticsearch import AsyncElasticsearch
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from esblend.errors import InvalidRequest, MalformedRequest
from esblend.http import AsCaller, answer, read_json, seconds
from indexer.dead_letters import ask, list_letters
from indexer.status import read_status
from mappings.attach import control_backfill, find_index
from mappings.dead_letters import DROP, RETRY

_COVERAGE_POLL_SECONDS = 0.25
_LIST_SIZE = 100


def make_routes(as_caller: AsCaller, describe_encoder: Callable[[], dict[str, Any]]) -> list[Route]:
    """`as_caller(request)` gives a client with the caller's credentials; the encoder's description goes into the status."""

    async def status(request: Request) -> Response:
        es, index = as_caller(request), request.path_params["index"]
        wanted = _coverage(request.query_params.get("wait_for_coverage"))
        deadline = time.monotonic() + seconds(request.query_params.get("timeout", "60s"))
        while True:
            found = await read_status(es, index)
            body = {**found.model_dump(mode="json"), "encoder": describe_encoder()}
            if wanted is None or found.coverage >= wanted:
                return answer(body)
            if time.monotonic() >= deadline:
                return answer({**body, "timed_out": True}, status=408)
            await asyncio.sleep(_COVERAGE_POLL_SECONDS)

    async def backfill(request: Request) -> Response:
        changes = await read_json(request)
        if not isinstance(changes, dict):
            raise MalformedRequest("the body must be a JSON object with [paused] or [documents_per_second]")
        index, control = await control_backfill(as_caller(request), request.path_params["index"], changes)
        return answer({"acknowledged": True, "index": index, "backfill": control.model_dump(mode="json")})

    async def letters(request: Request) -> Response:
        size = request.query_params.get("size", str(_LIST_SIZE))
        if not size.isdecimal():
            raise InvalidRequest(f"[size] must be a number of dead letters, but is [{size}]")
        es = as_caller(request)
        return answer(await list_letters(es, **await _which(es, request), size=int(size)))

    def asking(action: str) -> Callable[[Request], Any]:
        async def handler(request: Request) -> Response:
            es = as_caller(request)
            which = await _which(es, request)
            if which["index"] is None and "all" not in request.query_params:
                raise InvalidRequest("name the [index] whose dead letters are meant, or add [all]")
            return answer({"acknowledged": True, "dead_letters": await ask(es, action, **which)})

        return handler

    return [
        Route("/_esblend/indices/{index}/status", status, methods=["GET"]),
        Route("/_esblend/indices/{index}/backfill", backfill, methods=["POST"]),
        Route("/_esblend/dead-letters", letters, methods=["GET"]),
        Route("/_esblend/dead-letters/_retry", asking(RETRY), methods=["POST"]),
        Route("/_esblend/dead-letters/_drop", asking(DROP), methods=["POST"]),
    ]


async def _which(es: AsyncElasticsearch, request: Request) -> dict[str, str | None]:
    name = request.query_params.get("index")
    index = (await find_index(es, name))[0] if name is not None else None
    return {"index": index, "id_": request.query_params.get("id")}


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
