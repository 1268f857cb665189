"""Responses, bodies and URL parameters of esblend's endpoints, in Elasticsearch's conventions."""

import re
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from esblend.errors import InvalidRequest, MalformedRequest

PRODUCT = {"X-elastic-product": "Elasticsearch"}
_MAX_BODY = 1 << 20
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def endpoint_response(content: Any, *, status: int = 200) -> Response:
    """A JSON response with Elasticsearch's product header, which its clients require."""
    return JSONResponse(content, status, headers=PRODUCT)


async def read_json(request: Request) -> Any:
    """The parsed body; None for an empty one. Raises InvalidRequest when it is too large, MalformedRequest when it is not JSON."""
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > _MAX_BODY:
            raise InvalidRequest(f"the body is larger than {_MAX_BODY} bytes")
    if not raw:
        return None
    try:
        return orjson.loads(bytes(raw))
    except orjson.JSONDecodeError as error:
        raise MalformedRequest(f"the body is not JSON: {error}") from error


def is_set(request: Request, name: str) -> bool:
    return request.query_params.get(name, "false") in ("", "true")


def seconds(value: str, *, name: str = "timeout") -> float:
    """The seconds of a time value such as `60s`, at most an hour. Raises InvalidRequest."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", value)
    if match is None:
        raise InvalidRequest(f"[{name}] must be a time such as [60s] or [2m], but is [{value}]")
    return min(3600.0, float(match.group(1)) * _UNITS[match.group(2)])
