"""OpenTelemetry traces, off unless `ESBLEND_TRACING` is on: one from a write to its vector, one for each search.

The destination is set by OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER`, ...). A context
travels as a W3C `traceparent`: in HTTP headers, in headers of tasks, and, since a change in Elasticsearch has no headers, from
the gateway to the feed in short-lived keys in Redis (`change_key`). No span holds a text.
"""

import time
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from esblend.errors import EsblendError
from esblend.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext, Tracer

CHANGE_SECONDS = 3600
"""Seconds that a write's context is stored for the feed."""
Kind = Literal["internal", "server", "producer", "consumer"]
Attributes = Mapping[str, str | int]
"""Attributes by short names. OpenTelemetry's standard names replace known ones; the others become `esblend.<name>`."""
_tracer: "Tracer | None" = None


def set_up(settings: Settings, process: str) -> None:
    """Start tracing if the settings enable it. A process that forks calls this after the fork. Raises EsblendError when
    OpenTelemetry is not installed."""
    global _tracer
    if not settings.tracing:
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise EsblendError("ESBLEND_TRACING needs OpenTelemetry: pip install 'esblend[tracing]'") from error
    provider = TracerProvider(resource=Resource.create({"service.name": f"esblend-{process}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)  # Elasticsearch's client uses it to trace its requests
    _tracer = trace.get_tracer("esblend")


def is_on() -> bool:
    return _tracer is not None


def flush() -> None:
    """Export pending spans before the process ends."""
    if _tracer is not None:
        from opentelemetry import trace

        provider: Any = trace.get_tracer_provider()
        provider.shutdown()


@contextmanager
def span(
    name: str,
    attributes: Attributes,
    *,
    kind: Kind = "internal",
    parent: str | None = None,
    links: Sequence[str] = (),
) -> Iterator[None]:
    """A span around the block: below the `traceparent` of `parent`, or the span around it. Does nothing while tracing is off."""
    if _tracer is None:
        yield
        return
    from opentelemetry.trace import Link, SpanKind

    linked = [Link(context) for link in links if (context := _context(link)) is not None]
    with _tracer.start_as_current_span(
        name, _below(parent), SpanKind[kind.upper()], _named(attributes), linked, record_exception=False
    ):
        yield


def past_span(
    name: str, seconds: float, attributes: Attributes, *, parent: str | None = None, links: Sequence[str] = ()
) -> None:
    """A span that took `seconds` and ends now."""
    if _tracer is None:
        return
    from opentelemetry.trace import Link

    end = time.time_ns()
    linked = [Link(context) for link in links if (context := _context(link)) is not None]
    past = _tracer.start_span(
        name, _below(parent), attributes=_named(attributes), links=linked, start_time=end - int(seconds * 1e9)
    )
    past.end(end)


def annotate(attributes: Attributes) -> None:
    """Add attributes to the current span."""
    if _tracer is not None:
        from opentelemetry import trace

        trace.get_current_span().set_attributes(_named(attributes))


def traceparent() -> str | None:
    """The current span's context as a `traceparent`; None without a recorded span."""
    if _tracer is None:
        return None
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    if not context.is_valid or not context.trace_flags.sampled:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"


def change_key(index: str, id_: str, seq_no: int) -> str:
    """The Redis key that holds the `traceparent` of the write that made a change."""
    return f"esblend:trace:{index}:{seq_no}:{id_}"


def add_trace_id(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor that adds the trace id to log lines."""
    present = traceparent()
    if present is not None:
        event["trace_id"] = present.split("-")[1]
    return event


def _below(parent: str | None) -> Any:
    if parent is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": parent})


def _context(parent: str) -> "SpanContext | None":
    from opentelemetry import trace

    context = trace.get_current_span(_below(parent)).get_span_context()
    return context if context.is_valid else None


def _named(attributes: Attributes) -> dict[str, str | int]:
    # https://opentelemetry.io/docs/specs/semconv/http/http-spans/
    known = {"method": "http.request.method", "path": "url.path", "status": "http.response.status_code"}
    return {known.get(name, f"esblend.{name}"): value for name, value in attributes.items()}
