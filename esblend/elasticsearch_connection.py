"""Connections to Elasticsearch with the same options everywhere; waits for Elasticsearch at start-up."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import structlog
from elastic_transport import AsyncTransport, ConnectionTimeout, Transport, TransportError
from elastic_transport import ConnectionError as TransportConnectionError
from elasticsearch import ApiError, AsyncElasticsearch, Elasticsearch
from elasticsearch.serializer import OrjsonSerializer, TextSerializer

from esblend import exact_json, smile
from esblend.settings import Settings
from esblend.tls import tls_context

log = structlog.get_logger()

RETRY_FIRST_SECONDS = 0.5
RETRY_MOST_SECONDS = 15.0


class _Serializer(OrjsonSerializer):
    def json_loads(self, data: bytes) -> Any:
        return exact_json.loads(data)


def _as_version_8(headers: Any) -> Any:
    """The headers of a request with its media types in the format of 8.x, which 8.x and 9.x servers both accept.

    The client of version 9 asks for the format of 9, which 8.x servers reject.
    """
    if not isinstance(headers, Mapping):
        return headers
    return {
        name: value.replace("compatible-with=9", "compatible-with=8") if isinstance(value, str) else value
        for name, value in headers.items()
    }


class _Transport(Transport):
    def perform_request(self, method: str, target: str, **options: Any) -> Any:
        options["headers"] = _as_version_8(options.get("headers"))
        return super().perform_request(method, target, **options)


class _AsyncTransport(AsyncTransport):
    async def perform_request(self, method: str, target: str, **options: Any) -> Any:  # type: ignore[override]
        options["headers"] = _as_version_8(options.get("headers"))
        return await super().perform_request(method, target, **options)


def _options(settings: Settings, *, credentials: bool) -> dict[str, Any]:
    options: dict[str, Any] = {
        "hosts": settings.es_url,
        "request_timeout": settings.es_timeout_seconds,
        "serializers": {"application/json": _Serializer(), smile.SUBTYPE: TextSerializer()},  # SMILE is ready-made
    }
    context = tls_context(settings)
    if context is not None:
        options["ssl_context"] = context
    if credentials and settings.es_api_key:
        options["api_key"] = settings.es_api_key.get_secret_value()
    elif credentials and settings.es_username:
        password = settings.es_password.get_secret_value() if settings.es_password else ""
        options["basic_auth"] = (settings.es_username, password)
    return options


def connect(settings: Settings) -> Elasticsearch:
    """A blocking client with the process's credentials. It connects at its first request."""
    return Elasticsearch(transport_class=_Transport, **_options(settings, credentials=True))


def connect_async(settings: Settings, *, credentials: bool = True, connections: int = 10) -> AsyncElasticsearch:
    """An asyncio client. Without `credentials`, add headers with `.options(headers=...)`. `connections`: at most, to each node;
    further requests wait for one."""
    options = _options(settings, credentials=credentials)
    return AsyncElasticsearch(transport_class=_AsyncTransport, connections_per_node=connections, **options)


def back_off(attempt: int) -> float:
    """Seconds to wait before attempt `attempt` (from 0): doubles from 0.5 s up to 15 s."""
    return float(min(RETRY_MOST_SECONDS, RETRY_FIRST_SECONDS * 2 ** min(attempt, 10)))


def is_passing(error: Exception) -> bool:
    """Whether a retry may succeed: the server is unreachable, restarting or overloaded."""
    if isinstance(error, ApiError):
        return error.meta.status in (408, 429, 502, 503, 504)
    return isinstance(error, TransportConnectionError | ConnectionTimeout)


def keeps_vectors_back(es: Elasticsearch) -> bool:
    """Whether this server omits vectors from `_source` by default (9.2 and later)."""
    major, minor = es.info()["version"]["number"].split(".")[:2]
    return (int(major), int(minor)) >= (9, 2)


async def wait_for_elasticsearch_async(es: AsyncElasticsearch, url: str) -> None:
    """Return when Elasticsearch answers. Waits without limit, with back-off, and logs each attempt."""
    attempt = 0
    while True:
        try:
            await es.options(request_timeout=5, max_retries=0).info()
            return
        except (ApiError, TransportError) as error:
            if not is_passing(error):
                raise
            _say_waiting(url, attempt, error)
            await asyncio.sleep(back_off(attempt))
            attempt += 1


def wait_for_elasticsearch(es: Elasticsearch, url: str) -> None:
    """Blocking form of `wait_for_elasticsearch_async`."""
    attempt = 0
    while True:
        try:
            es.options(request_timeout=5, max_retries=0).info()
            return
        except (ApiError, TransportError) as error:
            if not is_passing(error):
                raise
            _say_waiting(url, attempt, error)
            time.sleep(back_off(attempt))
            attempt += 1


def _say_waiting(url: str, attempt: int, error: Exception) -> None:
    log.warning(
        "waiting for Elasticsearch",
        url=url,
        retry_in_seconds=back_off(attempt),
        cause=type(error).__name__,
    )


def error_body(error: ApiError) -> dict[str, Any]:
    """Elasticsearch's error document, or one in its shape when the response was not JSON."""
    if isinstance(error.body, Mapping):
        return dict(error.body)
    return {
        "error": {"root_cause": [], "type": "upstream_exception", "reason": str(error)},
        "status": error.meta.status,
    }
