"""A proxy in front of Elasticsearch that does something before it forwards a certain search request."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

import urllib3

_NOT_FORWARDED = {"host", "content-length", "transfer-encoding", "connection", "accept-encoding"}


class Between:
    """Calls `act` before the `_msearch` number `before`, counted from 1 since `arm`."""

    def __init__(self, elasticsearch: str) -> None:
        self.elasticsearch = elasticsearch
        self._lock = Lock()
        self._remaining = 0
        self._act: Callable[[], object] = lambda: None

    def arm(self, before: int, act: Callable[[], object]) -> None:
        self._remaining, self._act = before, act

    @property
    def has_acted(self) -> bool:
        return self._remaining <= 0

    def note_search(self) -> None:
        with self._lock:
            self._remaining -= 1
            if self._remaining == 0:
                self._act()


@contextmanager
def acting_between(between: Between) -> Iterator[str]:
    """The URL of the proxy."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if self.path.partition("?")[0] == "/_msearch":
                between.note_search()
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _NOT_FORWARDED}
            answer = urllib3.request(
                self.command, between.elasticsearch + self.path, body=body or None, headers=headers, retries=False
            )
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in _NOT_FORWARDED:
                    self.send_header(name, value)
            self.send_header("content-length", str(len(answer.data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.data)

        do_GET = do_POST = do_PUT = do_HEAD = handle_any  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
