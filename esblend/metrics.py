"""The Prometheus metrics of all processes, each defined once. docs/operations.md explains their use.

The gateway serves its own at `/_esblend/metrics`; feed and workers on a separate port (`ESBLEND_METRICS_PORT`).
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest, make_wsgi_app

from esblend.settings import Settings

log = structlog.get_logger()
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

# Feed
LAG = Gauge("esblend_lag_seconds", "Age of the oldest change without its vector.", ["index", "generation"])
PENDING = Gauge("esblend_pending_changes", "Changes that are not done.", ["index", "generation", "lane"])
TASKS_IN_FLIGHT = Gauge("esblend_tasks_in_flight", "Tasks sent and not finished.", ["index", "generation", "lane"])
PAUSED = Gauge("esblend_paused", "1 while the feed does not read an index that fails.", ["index", "generation"])
COVERAGE = Gauge(
    "esblend_coverage_ratio", "Documents with current vectors over documents that should have them.", ["index"]
)
DEAD_LETTERS = Gauge("esblend_dead_letters", "Documents that cannot be embedded.", ["index"])
ATTACHMENT_LOST = Gauge("esblend_attachment_lost", "1 if another client has overwritten the attachment.", ["index"])
INDEX_PROBLEMS = Gauge(
    "esblend_index_problems", "Settings and mappings of an index that prevent embedding or search.", ["index"]
)
TASKS = Counter("esblend_tasks", "Tasks finished.", ["lane", "outcome"])
FEED_HEARTBEATS = Counter(
    "esblend_feed_heartbeats", "Heartbeats that this feed wrote: one per second, or one in two seconds at rest."
)

# Worker
DOCUMENTS = Counter("esblend_documents", "Documents of tasks by outcome.", ["outcome"])
PASSAGES = Counter("esblend_passages", "Passages embedded.")
TOKENS = Counter("esblend_tokens", "Word pieces computed, special tokens included.", ["model"])
BATCH_FILL = Histogram(
    "esblend_batch_fill_ratio",
    "Share of a batch that is text rather than padding.",
    buckets=(0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 1),
)
ENCODER_SECONDS = Histogram(
    "esblend_encoder_seconds",
    "Time of one call of the encoder, including the wait for an earlier call.",
    ["model"],
    buckets=_SECONDS,
)
BULK_SECONDS = Histogram("esblend_bulk_seconds", "Time of one bulk request.", buckets=_SECONDS)
BULK_ITEMS = Counter("esblend_bulk_items", "Writes of vectors by HTTP status.", ["status"])
WORKER_SECONDS = Counter("esblend_worker_seconds", "Time of tasks, and of each step and wait within them.", ["step"])
RETRIES = Counter("esblend_elasticsearch_retries", "Requests of workers sent again.", ["cause"])
CACHE = Counter("esblend_embedding_cache_texts", "Texts looked up in the embedding cache.", ["outcome"])

# Gateway
SEARCHES = Counter("esblend_searches", "Searches that the gateway answers itself.", ["kind", "outcome"])
SEARCH_SECONDS = Histogram("esblend_search_seconds", "Time of such a search.", ["kind"], buckets=_SECONDS)
STEP_SECONDS = Histogram(
    "esblend_search_step_seconds", "Time of a step: encode, legs, fusion, page.", ["step"], buckets=_SECONDS
)
LEG_SECONDS = Histogram(
    "esblend_search_leg_seconds",
    "Time of a leg within Elasticsearch: lexical, semantic; both: the request of the default blend.",
    ["leg"],
    buckets=_SECONDS,
)
DEGRADED = Counter("esblend_searches_degraded", "Searches answered without a part.", ["part"])
PASSED = Counter("esblend_passed_requests", "Requests passed through to Elasticsearch.")


def serve(settings: Settings, is_alive: Callable[[], bool] = lambda: True) -> None:
    """Serve the metrics of this process if the settings name a port, and at `/live` its liveness: 200, or 503 when `is_alive` is
    false. A port in use is logged and does not stop the process."""
    if settings.metrics_port is None:
        return
    metrics = make_wsgi_app()

    def respond(environ: Any, start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/live":
            return cast(Iterable[bytes], metrics(environ, start_response))
        status, body = ("200 OK", b"alive\n") if is_alive() else ("503 Service Unavailable", b"stuck\n")
        start_response(status, [("Content-Type", "text/plain")])
        return [body]

    try:
        server = make_server(settings.metrics_host, settings.metrics_port, respond, _ThreadingServer, _QuietHandler)
    except OSError as error:
        log.warning("metrics not served: port unavailable", port=settings.metrics_port, reason=error.strerror)
        return
    threading.Thread(target=server.serve_forever, daemon=True).start()


class _ThreadingServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Probes and scrapes are not logged."""


def exposition() -> tuple[bytes, str]:
    """(body, content type) in Prometheus' text format."""
    return generate_latest(), CONTENT_TYPE_LATEST


@contextmanager
def timed_total(counter: Counter) -> Iterator[None]:
    """Add the duration of the block, also when it raises."""
    began = time.perf_counter()
    try:
        yield
    finally:
        counter.inc(time.perf_counter() - began)


@contextmanager
def timed(histogram: Histogram) -> Iterator[None]:
    """Observe the duration of the block, also when it raises."""
    began = time.perf_counter()
    try:
        yield
    finally:
        histogram.observe(time.perf_counter() - began)
