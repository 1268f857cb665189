"""A response of Elasticsearch that is held until it is complete, so that the gateway can change it."""

from collections.abc import Mapping
from typing import Any

from starlette.types import Send

from esblend import exact_json
from esblend.event_loop import LARGE_BODY, off_loop
from query.gateway.parts import send_in_parts


class BufferedResponse:
    """A response that is held until it is complete, and may be changed."""

    def __init__(self) -> None:
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._chunks: list[bytes] = []

    async def take(self, message: Any) -> None:
        """Takes the place of the ASGI `send`."""
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], list(message["headers"])
        else:
            self._chunks.append(message.get("body", b""))

    async def json(self) -> dict[str, Any] | None:
        """The JSON object of a successful response; None for any other response."""
        if self._status >= 300:
            return None
        try:
            raw = b"".join(self._chunks)
            content = await off_loop(len(raw) > LARGE_BODY, exact_json.loads, raw)
        except ValueError:
            return None
        return content if isinstance(content, dict) else None

    def replace(self, content: dict[str, Any], headers: Mapping[str, str] | None = None) -> None:
        body = exact_json.dumps(content)
        self._chunks = [body]
        self._headers = [pair for pair in self._headers if pair[0] != b"content-length"]
        self._headers.append((b"content-length", str(len(body)).encode()))
        self._headers += [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]

    async def pass_on(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        await send_in_parts(send, b"".join(self._chunks))
