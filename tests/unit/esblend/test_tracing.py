"""Tracing that is off costs nothing and needs nothing; contexts are W3C's."""

import subprocess
import sys

from esblend import tracing


def test_off_it_does_nothing() -> None:
    with tracing.span("name", {"documents": 1}, parent="no context", links=["none either"]):
        tracing.annotate({"status": 200})
        assert tracing.traceparent() is None
    tracing.past_span("name", 1.0, {})
    assert tracing.add_trace_id(None, "", {"event": "x"}) == {"event": "x"}


def test_contexts_are_passed_on_and_what_is_none_is_passed_over() -> None:
    script = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from esblend import tracing
from esblend.settings import Settings
tracing.set_up(Settings(tracing=True), "test")
given = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
with tracing.span("child", {}, parent=given, links=["rubbish", given]):
    print(tracing.traceparent())
with tracing.span("root", {}, parent="rubbish"):
    print(tracing.traceparent())
with tracing.span("not recorded", {}, parent=given[:-1] + "0"):
    print(tracing.traceparent())
import os; os._exit(0)
"""
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_BSP_SCHEDULE_DELAY": "60000"}
    done = subprocess.run(
        [sys.executable, "-u", "-c", script], capture_output=True, text=True, env=environment, timeout=60, check=True
    )
    child, root, unrecorded = done.stdout.split()
    assert child.startswith("00-" + "a" * 32)
    assert "b" * 16 not in child
    assert root != "None"
    assert "a" * 32 not in root
    assert unrecorded == "None"
