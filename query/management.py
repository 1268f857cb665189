"""The gateway's own endpoints below `/_esblend`, with the caller's rights."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from esblend.access import Access
from esblend.http import answer, is_set, read_json
from esblend.settings import Settings
from mappings.attach import attach, detach, show
from mappings.attachment import ModelIdentity, parse_attach_request
from query.embedder import QueryEmbedder
from query.metadata import Metadata
from query.upstream import Upstream


class Management:
    """The handlers; all is done with the caller's rights."""

    def __init__(
        self,
        settings: Settings,
        upstream: Upstream,
        metadata: Metadata,
        embedder: QueryEmbedder,
        access: Access,
    ) -> None:
        self._settings = settings
        self._upstream = upstream
        self._metadata = metadata
        self._embedder = embedder
        self._access = access

    def routes(self) -> list[Route]:
        return [
            Route("/_esblend/health/live", self.live, methods=["GET"]),
            Route("/_esblend/health/ready", self.ready, methods=["GET"]),
            Route("/_esblend/indices/{index}", self.put, methods=["PUT"]),
            Route("/_esblend/indices/{index}", self.get, methods=["GET"]),
            Route("/_esblend/indices/{index}", self.delete, methods=["DELETE"]),
        ]

    async def live(self, _: Request) -> Response:
        return answer({"status": "live"})

    async def ready(self, _: Request) -> Response:
        if await self._upstream.is_reachable():
            return answer({"status": "ready"})
        return answer({"status": "not ready", "reason": "Elasticsearch cannot be reached"}, status=503)

    async def put(self, request: Request) -> Response:
        wanted = parse_attach_request(await read_json(request))
        encoder = await self._embedder.load(wanted.model or self._settings.model)
        done = await attach(
            self._access.as_caller(request),
            request.path_params["index"],
            wanted,
            ModelIdentity(name=encoder.name, digest=encoder.digest, dims=encoder.dims),
            model_max_tokens=encoder.max_tokens,
            dry_run=is_set(request, "dry_run"),
        )
        self._metadata.forget()
        content: dict[str, Any] = {"acknowledged": True, "index": done.index, "attachment": done.attachment.to_meta()}
        if is_set(request, "dry_run"):
            content |= {"acknowledged": False, "dry_run": True, "mapping_additions": done.additions}
        return answer(content)

    async def get(self, request: Request) -> Response:
        index, attachment = await show(self._access.as_caller(request), request.path_params["index"])
        return answer({"index": index, "attachment": attachment.to_meta()})

    async def delete(self, request: Request) -> Response:
        index = await detach(self._access.as_caller(request), request.path_params["index"])
        self._metadata.forget()
        note = "the vectors stay in the documents and their fields in the mapping until the index is re-indexed"
        return answer({"acknowledged": True, "index": index, "remains": note})
