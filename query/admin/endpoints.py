"""The gateway's own endpoints below `/_esblend`; they act with the caller's rights."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from esblend.caller_access import MANAGE, Access
from esblend.endpoint_http import endpoint_response, is_set, read_json
from esblend.metrics import exposition
from esblend.settings import Settings
from mappings.attachment import Attachment
from mappings.generations import ChangedGeneration, activate, add_generation, describe, drop, requested_model
from mappings.index_lookup import find_attached
from mappings.lifecycle import attach, detach, restore, set_defaults
from mappings.new_generation import Models
from mappings.requests import parse_attach_request, parse_defaults, parse_generation_request
from mappings.templates import Kind, attach_template, detach_template, show_template
from query.admin.blend import describe_blend
from query.admin.clicks import ClickLog
from query.admin.embed import embed
from query.run.elasticsearch import Upstream
from query.run.query_encoder import QueryEmbedder
from query.targets.metadata import Metadata, Requester


class Management:
    """The handlers of all management endpoints."""

    def __init__(
        self,
        settings: Settings,
        upstream: Upstream,
        metadata: Metadata,
        embedder: QueryEmbedder,
        access: Access,
        make_requester: Callable[[Request], Requester],
    ) -> None:
        self._settings = settings
        self._upstream = upstream
        self._metadata = metadata
        self._embedder = embedder
        self._access = access
        self._make_requester = make_requester

    def routes(self) -> list[Route]:
        return [
            Route("/_esblend/health/live", self.live, methods=["GET"]),
            Route("/_esblend/health/ready", self.ready, methods=["GET"]),
            Route("/_esblend/metrics", self.metrics, methods=["GET"]),
            Route("/_esblend/embed", self.embed, methods=["POST"]),
            Route("/_esblend/blend", self.blend, methods=["GET"]),
            *ClickLog(self._settings, self._access).routes(),
            Route("/_esblend/indices/{index}", self.put, methods=["PUT"]),
            Route("/_esblend/indices/{index}", self.get, methods=["GET"]),
            Route("/_esblend/indices/{index}", self.delete, methods=["DELETE"]),
            Route("/_esblend/indices/{index}/defaults", self.put_defaults, methods=["PUT"]),
            Route("/_esblend/indices/{index}/_restore", self.restore, methods=["POST"]),
            Route("/_esblend/indices/{index}/generations", self.add_generation, methods=["POST"]),
            Route("/_esblend/indices/{index}/generations", self.generations, methods=["GET"]),
            Route("/_esblend/indices/{index}/generations/{generation}/_activate", self.activate, methods=["POST"]),
            Route("/_esblend/indices/{index}/generations/{generation}", self.drop_generation, methods=["DELETE"]),
            *(
                Route(f"/_esblend/{kind}/{{template}}", handler, methods=[method])
                for kind in ("templates", "component-templates")
                for method, handler in (
                    ("PUT", self.put_template),
                    ("GET", self.get_template),
                    ("DELETE", self.delete_template),
                )
            ),
        ]

    async def live(self, _: Request) -> Response:
        return endpoint_response({"status": "live"})

    async def ready(self, _: Request) -> Response:
        if await self._upstream.is_reachable():
            return endpoint_response({"status": "ready"})
        return endpoint_response({"status": "not ready", "reason": "Elasticsearch cannot be reached"}, status=503)

    async def metrics(self, _: Request) -> Response:
        """This gateway's own metrics; their labels contain no index names."""
        body, kind = exposition()
        return Response(body, media_type=kind)

    async def blend(self, _: Request) -> Response:
        """The options that a `hybrid` query accepts, and esblend's own defaults."""
        return endpoint_response(describe_blend())

    async def embed(self, request: Request) -> Response:
        return await embed(request, self._make_requester, self._metadata, self._embedder)

    async def put(self, request: Request) -> Response:
        attach_request = parse_attach_request(await read_json(request))
        models = await self._models(attach_request.model or self._settings.model, attach_request.query_model)
        is_dry = is_set(request, "dry_run")
        results = await attach(
            self._access.as_caller(request), request.path_params["index"], attach_request, models, dry_run=is_dry
        )
        self._metadata.forget()
        shown = [_shown(result.index, result.attachment, result.additions, is_dry=is_dry) for result in results]
        indices = {"indices": shown} if len(shown) > 1 else {}
        return endpoint_response({"acknowledged": not is_dry, **shown[0], **indices})

    async def get(self, request: Request) -> Response:
        attached = await find_attached(self._access.as_caller(request), request.path_params["index"])
        return endpoint_response({"index": attached.index, "attachment": attached.attachment.to_meta()})

    async def delete(self, request: Request) -> Response:
        index = await detach(self._access.as_caller(request), request.path_params["index"])
        self._metadata.forget()
        note = "the vectors remain in the documents and their fields in the mapping until you re-index"
        return endpoint_response({"acknowledged": True, "index": index, "remains": note})

    async def restore(self, request: Request) -> Response:
        name = request.path_params["index"]
        await self._access.require(request, name, MANAGE)
        result = await restore(self._access.as_caller(request), self._access.own(request), name)
        self._metadata.forget()
        shown = _shown(result.index, result.attachment, {}, is_dry=False)
        return endpoint_response({"acknowledged": True, "changed": result.changed, **shown})

    async def put_defaults(self, request: Request) -> Response:
        defaults = parse_defaults(await read_json(request))
        index, attachment = await set_defaults(self._access.as_caller(request), request.path_params["index"], defaults)
        self._metadata.forget()
        return endpoint_response({"acknowledged": True, "index": index, "attachment": attachment.to_meta()})

    async def add_generation(self, request: Request) -> Response:
        generation_request = parse_generation_request(await read_json(request))
        es, name = self._access.as_caller(request), request.path_params["index"]
        present = (await find_attached(es, name)).attachment
        models = await self._models(requested_model(generation_request, present), generation_request.query_model)
        result = await add_generation(es, name, generation_request, models)
        self._metadata.forget()
        return endpoint_response(_generation_body(result))

    async def generations(self, request: Request) -> Response:
        index, generations = await describe(self._access.as_caller(request), request.path_params["index"])
        return endpoint_response({"index": index, "generations": generations})

    async def activate(self, request: Request) -> Response:
        name, generation = request.path_params["index"], request.path_params["generation"]
        result = await activate(self._access.as_caller(request), name, generation, force=is_set(request, "force"))
        self._metadata.forget()
        return endpoint_response(_generation_body(result))

    async def drop_generation(self, request: Request) -> Response:
        name, generation = request.path_params["index"], request.path_params["generation"]
        index, task = await drop(self._access.as_caller(request), name, generation)
        self._metadata.forget()
        note = "the task removes its vectors" if task else "its vectors remain until the next write of each document"
        return endpoint_response(
            {"acknowledged": True, "index": index, "generation": generation, "task": task, "remains": note}
        )

    async def put_template(self, request: Request) -> Response:
        attach_request = parse_attach_request(await read_json(request))
        models = await self._models(attach_request.model or self._settings.model, attach_request.query_model)
        is_dry = is_set(request, "dry_run")
        result = await attach_template(
            self._access.as_caller(request),
            request.path_params["template"],
            _kind(request),
            attach_request,
            models,
            dry_run=is_dry,
        )
        shown = _shown(result.name, result.attachment, result.additions, is_dry=is_dry)
        return endpoint_response({"acknowledged": not is_dry, "template": shown.pop("index"), **shown})

    async def get_template(self, request: Request) -> Response:
        name = request.path_params["template"]
        attachment = await show_template(self._access.as_caller(request), name, _kind(request))
        return endpoint_response({"template": name, "attachment": attachment.to_meta()})

    async def delete_template(self, request: Request) -> Response:
        name = request.path_params["template"]
        await detach_template(self._access.as_caller(request), name, _kind(request))
        return endpoint_response(
            {"acknowledged": True, "template": name, "remains": "indices created from it keep their attachments"}
        )

    async def _models(self, documents: str, queries: str | None) -> Models:
        loaded = await self._embedder.load(documents)
        return Models(loaded, None if queries is None else await self._embedder.load(queries))


def _shown(index: str, attachment: Attachment, additions: dict[str, Any], *, is_dry: bool) -> dict[str, Any]:
    shown = {"index": index, "attachment": attachment.to_meta()}
    return shown | ({"dry_run": True, "mapping_additions": additions} if is_dry else {})


def _generation_body(result: ChangedGeneration) -> dict[str, Any]:
    return {
        "acknowledged": True, "index": result.index, "generation": result.name, "changed": result.changed,
        "attachment": result.attachment.to_meta(),
    }  # fmt: skip


def _kind(request: Request) -> Kind:
    return "component" if request.url.path.startswith("/_esblend/component-templates/") else "index"
