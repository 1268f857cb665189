"""One trace from a write to its vector, through gateway, feed, queue and worker; and one for each search."""

import gzip
import http.server
import secrets
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.conftest import Stack
from tests.real.faults import assert_vectors_of_present_texts, kill, process, revive, wait_for
from tests.real.gateways import gateway_with

CANARY = "zebrafinch"


@dataclass
class Collector:
    """Takes spans by OTLP over HTTP."""

    spans: list[Any] = field(default_factory=list)
    services: dict[bytes, str] = field(default_factory=dict)
    port: int = 0

    def of(self, trace: str) -> dict[str, Any]:
        """The spans of a trace by their names; the last of each."""
        return {span.name: span for span in list(self.spans) if span.trace_id.hex() == trace}

    def all_of(self, trace: str, names: set[str]) -> dict[str, Any]:
        """The spans of a trace once those of `names` are there."""
        wait_for("span", lambda: names <= self.of(trace).keys(), shows=lambda: sorted(self.of(trace)))
        return self.of(trace)


@contextmanager
def collector() -> Iterator[Collector]:
    exported = Collector()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            request = ExportTraceServiceRequest.FromString(body)
            for resource in request.resource_spans:
                names = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        exported.services[span.span_id] = names["service.name"]
                        exported.spans.append(span)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    exported.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield exported
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def traced(fault_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Collector, Any]]:
    """A feed, a worker and a gateway that trace, and a client of the gateway."""
    folder = tmp_path_factory.mktemp("traced")
    kill(fault_stack, "feed", "worker")
    with collector() as exported, ExitStack() as running:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{exported.port}", "OTEL_BSP_SCHEDULE_DELAY": "200",
            "ESBLEND_TRACING": "true",
        }  # fmt: skip
        for name in ("feed", "worker"):
            running.enter_context(process(fault_stack, "esblend", name, place=folder, **environment))
        options = {"tracing": "true", "environment": environment}
        yield exported, running.enter_context(gateway_with(fault_stack, folder, **options))
    revive(fault_stack)


@pytest.fixture
def index(fault_stack: Stack, index_name: str, traced: object) -> Iterator[str]:
    """An attached index that the tracing feed follows."""
    mapping = {"properties": {"body": {"type": "text"}}}
    fault_stack.es.indices.create(index=index_name, mappings=mapping, settings={"number_of_replicas": 0})
    fault_stack.attach(index_name, "body")
    fault_stack.wait(index_name)
    yield index_name
    fault_stack.es.indices.delete(index=index_name)


def new_trace() -> tuple[str, dict[str, str]]:
    trace = secrets.token_hex(16)
    return trace, {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}


def test_one_trace_from_a_write_to_its_vector(fault_stack: Stack, traced: tuple[Collector, Any], index: str) -> None:
    exported, gateway = traced
    trace, headers = new_trace()
    gateway.options(headers=headers).index(index=index, id="1", document={"body": f"text of a {CANARY}"})
    assert_vectors_of_present_texts(fault_stack, index, 1)
    wanted = {"PUT _doc", "send task", "embed", "encode", "search", "bulk"}
    spans = exported.all_of(trace, wanted)
    services = {name: exported.services[span.span_id] for name, span in spans.items()}
    assert services["PUT _doc"] == "esblend-gateway"
    assert services["send task"] == "esblend-feed"
    assert {services[name] for name in ("embed", "encode", "bulk")} == {"esblend-worker"}
    assert spans["PUT _doc"].parent_span_id.hex() == headers["traceparent"].split("-")[2]
    assert spans["send task"].parent_span_id == spans["PUT _doc"].span_id
    assert spans["embed"].parent_span_id == spans["send task"].span_id
    for name in ("encode", "bulk"):
        assert spans[name].parent_span_id == spans["embed"].span_id, name


def test_writes_that_share_a_task_each_see_it_in_their_own_trace(
    fault_stack: Stack, traced: tuple[Collector, Any], index: str
) -> None:
    exported, gateway = traced
    traces = []
    for n in range(6):
        trace, headers = new_trace()
        traces.append(trace)
        operations = [{"index": {"_id": str(n)}}, {"body": f"text {n} of a {CANARY}"}]
        gateway.options(headers=headers).bulk(index=index, operations=operations)
    assert_vectors_of_present_texts(fault_stack, index, 6)

    def ends(trace: str) -> bool:
        return bool({"embed", "embed with others"} & exported.of(trace).keys())

    wait_for("the end of every trace", lambda: all(map(ends, traces)))
    batches = {span.span_id for span in exported.spans if span.name == "embed"}
    for trace in traces:
        shared = exported.of(trace).get("embed with others")
        assert shared is None or {link.span_id for link in shared.links} <= batches


def test_a_search_shows_its_steps(fault_stack: Stack, traced: tuple[Collector, Any], index: str) -> None:
    exported, gateway = traced
    fault_stack.es.index(index=index, id="1", document={"body": f"text of a {CANARY}"}, refresh=True)
    trace, headers = new_trace()
    gateway.options(headers=headers).search(index=index, query={"hybrid": {"query": f"which {CANARY}?"}})
    wanted = {"POST _search", "encode", "legs", "page"}
    spans = exported.all_of(trace, wanted)
    for name in ("encode", "legs", "page"):
        assert spans[name].parent_span_id == spans["POST _search"].span_id, name


def test_no_span_holds_a_text(traced: tuple[Collector, Any]) -> None:
    exported, _ = traced
    assert len(exported.spans) > 20
    assert not [span.name for span in exported.spans if CANARY in str(span)]
