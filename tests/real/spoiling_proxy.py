"""A proxy in front of Elasticsearch that answers one document's bulk item with status 500, as a failing shard does. It passes only
JSON."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import urllib3

_ERROR = {"type": "i_o_exception", "reason": "No space left on device"}
_NOT_FORWARDED = {"host", "content-length", "transfer-encoding", "connection", "accept-encoding"}


class Spoiler:
    """While `remaining` is above 0, operations on the document `id_` never reach Elasticsearch. `times` counts them. Bulk requests
    that are not JSON get the status `refusal`."""

    def __init__(self, elasticsearch: str, id_: str, remaining: int, refusal: int = 415) -> None:
        self.elasticsearch = elasticsearch
        self.id_ = id_
        self.remaining = remaining
        self.refusal = refusal
        self.times = 0
        self.refused = 0
        """Bulk requests that were not JSON."""

    def take(self, lines: list[bytes]) -> tuple[list[bytes], list[int]]:
        """The lines of a bulk body without the spoiled operations, and the positions of these."""
        chunks: list[bytes] = []
        spoiled: list[int] = []
        for position, start in enumerate(range(0, len(lines), 2)):
            [(_, action)] = json.loads(lines[start]).items()
            if action["_id"] == self.id_ and self.remaining > 0:
                self.remaining -= 1
                self.times += 1
                spoiled.append(position)
            else:
                chunks += lines[start : start + 2]
        return chunks, spoiled


@contextmanager
def spoiling(spoiler: Spoiler) -> Iterator[str]:
    """The URL of the proxy."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            spoiled: list[int] = []
            if self.path.partition("?")[0] == "/_bulk":
                if "json" not in self.headers.get("content-type", ""):
                    spoiler.refused += 1
                    self.reply(spoiler.refusal, {}, b'{"error": "only JSON"}')
                    return
                lines, spoiled = spoiler.take(body.splitlines())
                body = b"".join(line + b"\n" for line in lines)
            if spoiled and not body:
                self.reply(200, {"x-elastic-product": "Elasticsearch"}, with_failures(b'{"items": []}', spoiled))
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _NOT_FORWARDED}
            answer = urllib3.request(
                self.command, spoiler.elasticsearch + self.path, body=body or None, headers=headers, retries=False
            )
            forwarded = {name: value for name, value in answer.headers.items() if name.lower() not in _NOT_FORWARDED}
            self.reply(answer.status, forwarded, with_failures(answer.data, spoiled) if spoiled else answer.data)

        def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response_only(status)
            if "content-type" not in {name.lower() for name in headers}:
                headers = {**headers, "content-type": "application/json"}
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_any  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def with_failures(answer: bytes, positions: list[int]) -> bytes:
    """A bulk response with failed items at these positions."""
    content: dict[str, Any] = {"took": 1, "errors": True, **json.loads(answer)}
    for position in positions:
        content["items"].insert(position, {"update": {"status": 500, "error": _ERROR}})
    return json.dumps({**content, "errors": True}).encode()
