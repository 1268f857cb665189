"""The trace of a task: it continues the trace of the feed, and links the trace of every other write in the task."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from esblend import tracing
from esblend.broker import EmbedTask, RangeTask


@contextmanager
def traced_task(task: EmbedTask | RangeTask, headers: Mapping[str, Any]) -> Iterator[None]:
    """A span around the embedding of a task. The message's `headers` hold the feed's `traceparent`, and in `traces` the context of
    each document's write. They come from outside, so values that are not trace contexts are ignored."""
    if not tracing.is_on():
        yield
        return
    parent = headers.get("traceparent")
    traces = headers.get("traces")
    writes = {context for context in traces.values() if isinstance(context, str)} if isinstance(traces, dict) else set()
    began = time.perf_counter()
    attributes: dict[str, str | int] = {
        "index": task.index,
        "generation": task.generation,
        "max_documents": task.max_documents,
    }
    with tracing.span("embed", attributes, kind="consumer", parent=parent if isinstance(parent, str) else None):
        yield
        present = tracing.traceparent()
    # A task may embed many writes, each with a separate trace; there the work appears as a linked span.
    seconds = time.perf_counter() - began
    for write in sorted(writes)[: task.max_documents]:
        if present is not None and write.split("-")[1:2] != present.split("-")[1:2]:
            tracing.past_span("embed with others", seconds, {"index": task.index}, parent=write, links=[present])
