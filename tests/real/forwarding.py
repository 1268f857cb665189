"""Parts of proxies in front of Elasticsearch."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import urllib3

_NOT_FORWARDED = {"host", "content-length", "transfer-encoding", "connection", "accept-encoding"}


class Forwarding(BaseHTTPRequestHandler):
    """A handler that can forward requests. Subclasses answer all methods with `handle_any`."""

    protocol_version = "HTTP/1.1"

    @property
    def endpoint(self) -> str:
        """The path without parameters."""
        return self.path.partition("?")[0]

    def handle_any(self) -> None:
        raise NotImplementedError

    def read(self) -> bytes:
        """The body of the request."""
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def forward(self, elasticsearch: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of Elasticsearch's response."""
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _NOT_FORWARDED}
        answer = urllib3.request(
            self.command, elasticsearch + self.path, body=body or None, headers=headers, retries=False
        )
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in _NOT_FORWARDED}
        return answer.status, kept, answer.data

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

    def do_GET(self) -> None:
        self.handle_any()

    do_POST = do_PUT = do_DELETE = do_HEAD = do_GET  # noqa: N815


@contextmanager
def serving(handler: type[Forwarding]) -> Iterator[str]:
    """The URL of a server with this handler."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
