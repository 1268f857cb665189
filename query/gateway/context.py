"""What all handlers of the gateway share: settings, connections, the encoder, and clients with the caller's rights."""

import asyncio
import gc
import hashlib
import math
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import structlog
from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch
from starlette.types import Scope

from esblend.elasticsearch_connection import connect_async
from esblend.encoder.threads import available_threads
from esblend.errors import ModelError
from esblend.settings import Settings
from mappings.capabilities import Version, read_version
from mappings.index_lookup import read_attachments
from query.gateway.expensive_searches import ExpensiveSearches
from query.gateway.fair_share import FairShare
from query.gateway.request_id import REQUEST_ID, with_request_id
from query.gateway.search_queue import SearchQueue
from query.run.cross_encoder import Reranker
from query.run.elasticsearch import Upstream, header_text
from query.run.exact_knn import ExactKnn
from query.run.mean_vectors import MeanVectors
from query.run.query_encoder import QueryEmbedder
from query.run.requests import Caller
from query.run.session import Services
from query.targets.metadata import Metadata, Requester, indices_of

log = structlog.get_logger()
# Elasticsearch derives the caller's rights from these headers.
_RIGHTS_HEADERS = (
    b"authorization",
    b"es-client-authentication",
    b"es-security-runas-user",
    b"es-secondary-authorization",
)
_VERSION_SECONDS = 60.0
_CALLER_HEADERS = (*_RIGHTS_HEADERS, REQUEST_ID, b"traceparent")


class GatewayContext:
    """Opened once with the application, used by every request."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.upstream = Upstream(settings)
        self.embedder = QueryEmbedder(settings)
        self.reranker = Reranker(settings)
        self.share = FairShare()
        self.searches = SearchQueue(settings.search_queue_seconds)
        self.expensive = ExpensiveSearches(settings.expensive_searches or max(1, available_threads() // 2))
        self.exact_knn = ExactKnn(settings.exact_knn_documents)
        self._own_es: AsyncElasticsearch = connect_async(settings)
        self._bare_es: AsyncElasticsearch = connect_async(settings, credentials=False)
        self.own_es = self._own_es if settings.has_credentials else None
        """The gateway's own client; None where it has no credentials."""
        self.metadata = Metadata(self.own_es)
        self._version: tuple[float, Version | None] = (-math.inf, None)
        self.mean_vectors = MeanVectors(self.own_es)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connections are open, and the default model is loaded if possible; models of attached indices load in the background."""
        await self.upstream.open()
        try:
            await self.embedder.load(self.settings.model)
        except ModelError as error:
            log.warning("default model not loaded; models of attached indices load on demand", reason=error.reason)
        loading = asyncio.create_task(self._load_attached_models())
        yield
        loading.cancel()
        self.embedder.close()
        self.reranker.close()
        await self.upstream.close()
        await self._own_es.close()
        await self._bare_es.close()

    async def _load_attached_models(self) -> None:
        """Load the query models of attached indices before their first query. Others load on demand."""
        try:
            attachments = await read_attachments(self._own_es)
        except (ApiError, TransportError) as error:
            log.info("attached indices not readable; their models load on demand", cause=type(error).__name__)
            return
        names = {
            attachment.generation.searched_by.name for attachment in attachments.values() if attachment is not None
        }
        for name in sorted(names):
            try:
                await self.embedder.load(name)
            except ModelError as error:
                log.warning("model not loaded", model=name, reason=error.reason)
        _exempt_from_garbage_collection()

    async def version(self, scope: Scope) -> Version | None:
        """The version of Elasticsearch, read once a minute; None if neither the gateway nor the first caller then may read it."""
        read_at, version = self._version
        if time.monotonic() - read_at > _VERSION_SECONDS:
            version = await read_version(self.own_es or self.client_for(scope))
            self._version = (time.monotonic(), version)
        return version

    def client_for(self, scope: Scope) -> AsyncElasticsearch:
        """A client with the credentials of the request."""
        headers = with_request_id(scope["headers"])
        return self._bare_es.options(
            headers={name.decode(): header_text(value) for name, value in headers if name in _CALLER_HEADERS}
        )

    def services(self, scope: Scope) -> Services:
        """The parts that a search of this caller uses."""
        return Services(
            self.upstream,
            partial(self.client_for, scope),
            self.metadata,
            self.embedder,
            self.reranker,
            self.exact_knn,
            self.mean_vectors,
            partial(self.version, scope),
        )

    def caller(self, scope: Scope) -> Caller:
        """The sender of a request."""
        rights = b"\0".join(name + value for name, value in scope["headers"] if name in _RIGHTS_HEADERS)
        return Caller(with_request_id(scope["headers"]), hashlib.sha256(rights).hexdigest())

    def requester(
        self, scope: Scope, *, already_authorised: bool = False, options: dict[str, str] | None = None
    ) -> Requester:
        """The sender of a request, as the metadata cache needs it."""
        key = self.caller(scope).key
        return Requester(
            partial(self.client_for, scope), key, already_authorised=already_authorised, options=options or {}
        )

    async def searched(
        self, scope: Scope, body: dict[str, Any], target: str, parameters: Mapping[str, str]
    ) -> tuple[Requester, str]:
        """The sender of a search and the index expression that it searches: the indices of its point in time, if it has one."""
        pit = body.get("pit")
        if isinstance(pit, dict):
            target = await indices_of(self.client_for(scope), pit) or "-*"
        requester = self.requester(scope, already_authorised=isinstance(pit, dict), options=dict(parameters))
        return requester, target or "*"


def _exempt_from_garbage_collection() -> None:
    """Exclude all existing objects: libraries and models live as long as the process.

    Every request that makes many objects starts full collections, and each of these would visit all of them: 100 ms during which
    no other caller is answered. Not called while Elasticsearch cannot be reached: connections whose TLS handshake failed are
    closed by the collections.
    """
    gc.collect()
    gc.freeze()
