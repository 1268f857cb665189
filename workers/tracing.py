"""The trace of a task: it goes on from the feed's, and each other write that the task serves gets a part in its own."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from esblend import tracing
from esblend.broker import EmbedTask


@contextmanager
def traced_task(task: EmbedTask, headers: Mapping[str, Any]) -> Iterator[None]:
    """A span around the embedding of a task. `headers` are the message's: `traceparent` of the feed, and in `traces` that of each
    document's write. They come from outside; what is no context is passed over."""
    if not tracing.is_on():
        yield
        return
    parent = headers.get("traceparent")
    traces = headers.get("traces")
    writes = {one for one in traces.values() if isinstance(one, str)} if isinstance(traces, dict) else set()
    began = time.perf_counter()
    told: dict[str, str | int] = {"index": task.index, "generation": task.generation, "documents": len(task.documents)}
    with tracing.span("embed", told, kind="consumer", parent=parent if isinstance(parent, str) else None):
        yield
        present = tracing.traceparent()
    # One task serves many writes, each of which has a trace of its own: there the work shows by a link.
    seconds = time.perf_counter() - began
    for write in sorted(writes)[: len(task.documents)]:
        if present is not None and write.split("-")[1:2] != present.split("-")[1:2]:
            tracing.past_span("embed with others", seconds, {"index": task.index}, parent=write, links=[present])
