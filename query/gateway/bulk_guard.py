"""The guard in `_bulk`: Elasticsearch runs no pipeline on updates there, so the gateway rewrites those that may change a text.

lines -> updates of guarded indices -> `mappings.guarded_update` -> Elasticsearch
      \\-> all other lines, as they came ----------------------/
"""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from elasticsearch import ApiError
from starlette.types import Receive, Scope, Send

from esblend import exact_json
from esblend.elasticsearch_connection import is_passing
from esblend.errors import MalformedRequest
from mappings.attachment import Attachment
from mappings.guarded_update import guarded_update
from mappings.index_lookup import readable_attachment
from query.gateway.bodies import body_stream, read_up_to
from query.gateway.bulk_lines import Action, decompressed_pieces, with_replaced_updates
from query.gateway.context import GatewayContext
from query.gateway.proxy import forward
from query.gateway.routing import Route, raw_path

_HELD_BYTES = 1 << 20
"""A body up to this size is forwarded unchanged, headers included, when no line of it is rewritten."""
_CACHE_SECONDS = 1.0
_CACHE_ENTRIES = 1000
_COMPRESSIONS = (b"gzip", b"x-gzip", b"deflate")
_PARTS = "*.mappings._meta,*.settings.index.default_pipeline,*.aliases.*.is_write_index"


def is_bulk(scope: Scope) -> bool:
    """Whether the gateway can read the lines of a write: a `_bulk` in NDJSON."""
    headers = dict(scope["headers"])
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    return (
        raw_path(scope).rstrip("/").endswith("/_bulk")
        and b"json" in headers.get(b"content-type", b"")
        and encoding in (b"identity", *_COMPRESSIONS)
    )


@dataclass(frozen=True)
class GuardedIndex:
    """The attachment of a guarded index, and its default pipeline, which Elasticsearch runs on documents of `doc_as_upsert`."""

    attachment: Attachment
    default_pipeline: str | None


class GuardedIndices:
    """Guarded indices by the names that writes use. The gateway reads them with its own rights if it has any, otherwise with the
    caller's. Then the guard does not cover `_bulk` for callers without the privilege `view_index_metadata`."""

    def __init__(self) -> None:
        self._cache: dict[tuple[str, str], tuple[float, GuardedIndex | None]] = {}

    async def find(self, context: GatewayContext, scope: Scope, name: str) -> GuardedIndex | None:
        """The guarded index that a write to `name` (an index or alias) goes to; None when there is none. Raises ApiError."""
        if not name or name.startswith("_") or any(sign in name for sign in "*?,"):
            return None  # Elasticsearch rejects it
        key = (name, "" if context.own_es else context.caller(scope).key)
        cached = self._cache.get(key)
        if cached and time.monotonic() - cached[0] < _CACHE_SECONDS:
            return cached[1]
        guards = await self._read(context, scope, name)
        if len(self._cache) >= _CACHE_ENTRIES:
            self._cache.clear()
        self._cache[key] = (time.monotonic(), guards)
        return guards

    async def _read(self, context: GatewayContext, scope: Scope, name: str) -> GuardedIndex | None:
        es = context.own_es or context.client_for(scope)
        try:
            response = await es.indices.get(index=name, filter_path=_PARTS)
        except ApiError as error:
            if is_passing(error):
                raise
            return None  # the index is missing, or this user may not read its metadata
        indices = dict(response.body)
        if len(indices) > 1:  # an alias of several indices; writes go to one of them
            indices = {
                index: body
                for index, body in indices.items()
                if (body.get("aliases") or {}).get(name, {}).get("is_write_index") is True
            }
        if len(indices) != 1:
            return None
        [body] = indices.values()
        attachment = readable_attachment(body.get("mappings") or {})
        if attachment is None or not attachment.guard:
            return None
        settings = (body.get("settings") or {}).get("index") or {}
        return GuardedIndex(attachment, settings.get("default_pipeline"))


class GuardedBulk:
    """The body of one `_bulk`, of which updates of guarded indices are rewritten."""

    def __init__(self, context: GatewayContext, indices: GuardedIndices, route: Route, scope: Scope) -> None:
        self.is_changed = False
        self._context = context
        self._indices = indices
        self._target = route.target
        self._scope = scope

    @property
    def changed_scope(self) -> Scope:
        """The request with the headers of the changed body: its length is another, and it is not compressed."""
        dropped = (b"content-length", b"content-encoding")
        return {**self._scope, "headers": [pair for pair in self._scope["headers"] if pair[0] not in dropped]}

    def lines(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        if b"content-encoding" in dict(self._scope["headers"]):
            pieces = decompressed_pieces(pieces)
        return with_replaced_updates(pieces, self._replacement)

    async def _replacement(self, action: Action) -> Callable[[bytes], bytes] | None:
        name = action.metadata.get("_index", self._target)
        guarded = await self._indices.find(self._context, self._scope, name) if isinstance(name, str) else None
        if guarded is None:
            return None
        attachment = guarded.attachment
        # On updates Elasticsearch ignores the [pipeline] of the request and of the action.
        is_piped = guarded.default_pipeline not in (None, "_none") or attachment.final_pipeline_before is not None

        def rewrite(line: bytes) -> bytes:
            body = _parsed(line)
            rewritten = None if body is None else guarded_update(body, attachment, is_piped=is_piped)
            if rewritten is None:
                return line
            self.is_changed = True
            return exact_json.dumps(rewritten) + b"\n"

        return rewrite


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        body = exact_json.loads(line)
    except ValueError:
        return None  # Elasticsearch reports the error
    return body if isinstance(body, dict) else None


async def guarded_bulk(
    context: GatewayContext, indices: GuardedIndices, route: Route, scope: Scope, receive: Receive, send: Send
) -> None:
    """Forward a `_bulk`. Raises ApiError while Elasticsearch cannot say which indices are guarded."""
    chunks, ended = await read_up_to(_HELD_BYTES, receive)
    bulk = GuardedBulk(context, indices, route, scope)
    if not ended:
        rest = body_stream(chunks, receive, ended=False)
        await forward(context.upstream, bulk.changed_scope, bulk.lines(rest), receive, send)
        return
    raw = b"".join(chunks)
    scope, body = await guarded_body(bulk, scope, raw)
    await forward(context.upstream, scope, body, receive, send)


async def guarded_body(bulk: GuardedBulk, scope: Scope, raw: bytes) -> tuple[Scope, bytes | AsyncIterator[bytes]]:
    """The request and body to forward for a body that is held completely: as it came unless a line must be rewritten."""
    try:
        async for _ in bulk.lines(_only(raw)):
            if bulk.is_changed:
                return bulk.changed_scope, bulk.lines(_only(raw))
    except MalformedRequest:  # Elasticsearch reports the error
        return scope, raw
    return scope, raw


async def _only(raw: bytes) -> AsyncIterator[bytes]:
    yield raw
