"""The indexer's endpoints below `/_esblend`: status, backfill, dead letters. The gateway checks the caller's privileges."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from esblend.caller_access import MANAGE, READ, Access
from esblend.endpoint_http import endpoint_response, read_json, seconds
from esblend.errors import InvalidRequest, MalformedRequest
from indexer.care.feed_life import SeenHeartbeats
from indexer.care.letter_requests import indices_of_letters, list_letters, request_action
from indexer.care.progress import Progress
from indexer.care.status import read_status
from mappings.dead_letter_index import DROP, RETRY
from mappings.index_lookup import find_index
from mappings.lifecycle import control_backfill

_LIST_SIZE = 100


def make_routes(access: Access, describe_encoder: Callable[[], dict[str, Any]]) -> list[Route]:
    """`describe_encoder` adds a description of the encoder to the status."""
    endpoints = _Endpoints(access, describe_encoder)
    return [
        Route("/_esblend/indices/{index}/status", endpoints.status, methods=["GET"]),
        Route("/_esblend/indices/{index}/backfill", endpoints.backfill, methods=["POST"]),
        Route("/_esblend/dead-letters", endpoints.dead_letters, methods=["GET"]),
        Route("/_esblend/dead-letters/_retry", endpoints.retry_dead_letters, methods=["POST"]),
        Route("/_esblend/dead-letters/_drop", endpoints.drop_dead_letters, methods=["POST"]),
    ]


@dataclass(frozen=True)
class _Endpoints:
    access: Access
    describe_encoder: Callable[[], dict[str, Any]]
    seen: SeenHeartbeats = field(default_factory=SeenHeartbeats)

    async def status(self, request: Request) -> Response:
        name, access = request.path_params["index"], self.access
        wanted = _coverage(request.query_params.get("wait_for_coverage"))
        deadline = time.monotonic() + seconds(request.query_params.get("timeout", "60s"))
        await access.require(request, name, READ)
        progress = Progress(access.own(request), name, until_done=wanted == 1)
        while True:
            own, caller = access.own(request), access.as_caller(request)
            # Before the status, so that no change between the two is missed.
            version = None if wanted is None else await progress.version()
            status = await read_status(own, name, counting=caller, seen=self.seen)
            body = {**status.model_dump(mode="json"), "encoder": self.describe_encoder()}
            # With nothing pending, only an action on the dead letters changes the coverage.
            if wanted is None or status.coverage >= wanted or not status.pending:
                return endpoint_response(body)
            now = time.monotonic()
            if now >= deadline:
                return endpoint_response({**body, "timed_out": True}, status=408)
            await progress.wait(version, deadline - now)

    async def backfill(self, request: Request) -> Response:
        changes = await read_json(request)
        if not isinstance(changes, dict):
            raise MalformedRequest("the body must be a JSON object with [paused] or [documents_per_second]")
        es = self.access.as_caller(request)
        index, control = await control_backfill(es, request.path_params["index"], changes)
        return endpoint_response({"acknowledged": True, "index": index, "backfill": control.model_dump(mode="json")})

    async def dead_letters(self, request: Request) -> Response:
        size = request.query_params.get("size", str(_LIST_SIZE))
        if not size.isdecimal():
            raise InvalidRequest(f"[size] must be a number of dead letters, but is [{size}]")
        indices = await self._indices(request, READ)
        return endpoint_response(
            await list_letters(self.access.own(request), indices, request.query_params.get("id"), int(size))
        )

    async def retry_dead_letters(self, request: Request) -> Response:
        return await self._request_action(request, RETRY)

    async def drop_dead_letters(self, request: Request) -> Response:
        return await self._request_action(request, DROP)

    async def _request_action(self, request: Request, action: str) -> Response:
        if "index" not in request.query_params and "all" not in request.query_params:
            raise InvalidRequest("name the [index] of the dead letters, or add [all=true]")
        indices = await self._indices(request, MANAGE)
        count = await request_action(self.access.own(request), action, indices, request.query_params.get("id"))
        return endpoint_response({"acknowledged": True, "dead_letters": count})

    async def _indices(self, request: Request, privilege: str) -> list[str]:
        """The indices that the request names, or all with dead letters, for which the caller has `privilege`."""
        name, own = request.query_params.get("index"), self.access.own(request)
        if name is None:
            return await self.access.permitted(request, await indices_of_letters(own), privilege)
        await self.access.require(request, name, privilege)
        return [(await find_index(own, name))[0]]


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
