"""Sends a large body in parts, so that other callers get their turn between them."""

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_PART = 2**20
"""Bytes."""


class ResponseInParts(Response):
    """A response whose body is sent in parts. Its `Content-Length` is the length of the whole."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send_in_parts(send, bytes(self.body))


async def send_in_parts(send: Send, body: bytes) -> None:
    """Send the whole body of a response that has begun. Waits between parts while the caller reads slowly."""
    for start in range(0, len(body), _PART):
        part, is_last = body[start : start + _PART], start + _PART >= len(body)
        await send({"type": "http.response.body", "body": part, "more_body": not is_last})
    if not body:
        await send({"type": "http.response.body", "body": b""})
