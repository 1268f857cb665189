"""A proxy in front of Elasticsearch that does something before it forwards a certain search request."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from tests.real.forwarding import Forwarding, serving


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

    class Handler(Forwarding):
        def handle_any(self) -> None:
            body = self.read()
            if self.endpoint == "/_msearch":
                between.note_search()
            self.reply(*self.forward(between.elasticsearch, body))

    with serving(Handler) as url:
        yield url
