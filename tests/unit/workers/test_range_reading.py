"""A range is complete only when every document of it was read."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from esblend.broker import RangeTask
from esblend.errors import IndexUnavailable
from tests.unit.workers.test_targets import ATTACHMENT
from workers.documents import Target, find_target
from workers.range_reading import RangeReader

TASK = RangeTask(index="articles", uuid="u", generation="g1", shard=0, after=-1, until=99, max_documents=100)


@contextmanager
def answering(status: int, body: dict[str, Any]) -> Iterator[Elasticsearch]:
    """A client of a server that answers every request the same."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            content = json.dumps(body).encode()
            self.send_response(status)
            for name, value in (
                ("x-elastic-product", "Elasticsearch"),
                ("content-type", "application/json"),
                ("content-length", str(len(content))),
            ):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with Elasticsearch(f"http://127.0.0.1:{server.server_port}") as es:
            yield es
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def read(es: Elasticsearch, window: int = 10_000) -> int:
    """Up to where the range is complete."""
    target = Target("articles", "u", ATTACHMENT, "g1", 10_000, window)
    reader = RangeReader(es, target, TASK, 4)
    list(reader.pages())
    return reader.until


def test_a_range_of_a_deleted_index_is_done() -> None:
    with answering(404, {"error": {"type": "index_not_found_exception", "reason": "no such index"}}) as es:
        assert read(es) == 99
        assert find_target(es, TASK) is None


def test_any_other_404_leaves_the_range_to_do() -> None:
    with answering(404, {"error": {"type": "no_route_exception", "reason": "a proxy says so"}}) as es:
        with pytest.raises(IndexUnavailable, match="no_route"):
            read(es)
        with pytest.raises(IndexUnavailable, match="no_route"):
            find_target(es, TASK)


def test_a_number_with_more_documents_than_a_search_returns_is_not_complete() -> None:
    hits = [
        {"_id": str(number), "_seq_no": 7, "_primary_term": 1, "_version": 1, "_score": 0.0, "_source": {}}
        for number in range(4)
    ]
    with answering(200, {"hits": {"hits": hits}}) as es, pytest.raises(IndexUnavailable, match="max_result_window"):
        read(es, window=4)
