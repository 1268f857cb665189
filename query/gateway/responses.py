"""Responses that the gateway makes itself: JSON as the caller's client expects it, and errors in Elasticsearch's shape."""

import asyncio
import gzip
from collections.abc import Sequence
from typing import Any

import structlog
from elastic_transport import TransportError
from elasticsearch import ApiError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Scope

from esblend import exact_json
from esblend.disconnect import CallerLeft
from esblend.elasticsearch_connection import error_body
from esblend.endpoint_http import PRODUCT, endpoint_response
from esblend.errors import (
    CallerTooSlow,
    EsblendError,
    MalformedRequest,
    MediaTypeInvalid,
    TooManyRequests,
    UpstreamUnavailable,
)
from esblend.event_loop import LARGE_BODY, off_loop
from query.gateway.filter_path import filtered
from query.gateway.media_types import header, response_type
from query.gateway.parts import ResponseInParts
from query.gateway.routing import url_parameters

log = structlog.get_logger()
ENTITY_HEADERS = (b"content-length", b"content-encoding")
"""Headers that describe a body which has been replaced."""


async def json_response(scope: Scope, content: dict[str, Any], headers: dict[str, str]) -> Response:
    """A response in the content type that the caller's client version expects."""
    given = url_parameters(scope)
    if "filter_path" in given:
        # Every key of the response is compared with the patterns.
        content = await asyncio.to_thread(filtered, content, given["filter_path"])
    raw = exact_json.dumps(content, pretty=_is_pretty(scope))
    headers = {**PRODUCT, **_echoed(scope), **headers}
    if "gzip" in header(scope, b"accept-encoding") and len(raw) > 1000:
        raw = await off_loop(len(raw) > LARGE_BODY, gzip.compress, raw, 1)
        headers["Content-Encoding"] = "gzip"
    return ResponseInParts(raw, headers=headers, media_type=response_type(scope))


def error_for(scope: Scope, error: Exception) -> Response:
    """As `error_response`, in the form that the request asks for."""
    response = error_response(error)
    response.headers.update(_echoed(scope))
    if not isinstance(error, MediaTypeInvalid):
        response.headers["content-type"] = response_type(scope)
    if _is_pretty(scope):
        response.body = exact_json.dumps(exact_json.loads(bytes(response.body)), pretty=True)
        response.headers["content-length"] = str(len(response.body))
    return response


def _is_pretty(scope: Scope) -> bool:
    return url_parameters(scope).get("pretty", "false") in ("", "true")


def _echoed(scope: Scope) -> dict[str, str]:
    """Elasticsearch repeats the id by which the caller recognises its request."""
    opaque_id = header(scope, b"x-opaque-id")
    return {"X-Opaque-Id": opaque_id} if opaque_id else {}


def error_response(error: Exception) -> Response:
    """The response to any error, in Elasticsearch's shape. Unexpected errors are logged, not shown."""
    if isinstance(error, CallerTooSlow):
        response = endpoint_response(error.body(), status=error.status)
        response.headers["connection"] = "close"  # the rest of the request is not read
        return response
    if isinstance(error, TooManyRequests):
        response = endpoint_response(error.body(), status=error.status)
        response.headers["retry-after"] = "1"
        return response
    if isinstance(error, EsblendError):
        return endpoint_response(error.body(), status=error.status)
    if isinstance(error, ApiError):
        return endpoint_response(error_body(error), status=error.meta.status)
    if isinstance(error, RecursionError):
        return error_response(nested_too_deeply())
    if isinstance(error, TransportError):
        away = UpstreamUnavailable("the gateway cannot reach Elasticsearch")
        return endpoint_response(away.body(), status=away.status)
    log.error("unexpected error", exc_info=error)
    unexpected = EsblendError("unexpected error in the gateway; its log has the details")
    return endpoint_response(unexpected.body(), status=unexpected.status)


def nested_too_deeply() -> MalformedRequest:
    """The error in place of a RecursionError: only deep requests and documents let functions call themselves that often."""
    return MalformedRequest("the request, or a document of its response, is nested too deeply for esblend's queries")


def with_degraded(
    content: dict[str, Any], headers: dict[str, str], reasons: Sequence[str] | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """A search's response and headers with all reasons why it is degraded: its own, and `reasons`."""
    extras = content.get("esblend") or {}
    degraded = [*extras.get("degraded", []), *(reasons or [])]
    if not degraded:
        return content, headers
    content = {**content, "esblend": {**extras, "degraded": degraded}}
    return content, {**headers, "Warning": warning_header(degraded[0])}


def warning_header(text: str) -> str:
    """A `Warning` header (RFC 7234, section 5.5): code 299, quoted text of plain ASCII."""
    plain = (
        text.encode("ascii", "replace")
        .decode()
        .translate({ord('"'): "'", ord("\\"): "/", **dict.fromkeys(range(32), " ")})
    )
    return f'299 esblend "{plain}"'


async def on_error(_: Request, error: Exception) -> Response:
    if isinstance(error, CallerLeft | ClientDisconnect):
        raise error  # nobody reads an answer
    return error_response(error)


async def on_http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    reason = f"no handler found for uri [{request.url.path}] and method [{request.method}]"
    cause = {"type": "illegal_argument_exception", "reason": reason}
    return endpoint_response({"error": {"root_cause": [cause], **cause}, "status": status}, status=status)
