"""A response of Elasticsearch that is held until it is complete, so that the gateway can change it."""

from collections.abc import Mapping
from typing import Any

from starlette.types import Send

from esblend import surrogate_json


class BufferedResponse:
    """An answer that is held back until it is complete, and may be changed."""

    def __init__(self) -> None:
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = b""

    async def take(self, message: Any) -> None:
        """Stands for the ASGI `send`."""
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], list(message["headers"])
        else:
            self._body += message.get("body", b"")

    def json(self) -> dict[str, Any] | None:
        """The content of a success; None for anything else."""
        if self._status >= 300:
            return None
        try:
            content = surrogate_json.loads(self._body)
        except ValueError:
            return None
        return content if isinstance(content, dict) else None

    def replace(self, content: dict[str, Any], headers: Mapping[str, str] | None = None) -> None:
        self._body = surrogate_json.dumps(content)
        self._headers = [pair for pair in self._headers if pair[0] != b"content-length"]
        self._headers.append((b"content-length", str(len(self._body)).encode()))
        self._headers += [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]

    async def pass_on(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._body})
