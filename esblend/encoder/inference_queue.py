"""Computes batches on all streams of a compiled OpenVINO model, for several callers one after the other.

caller 1: batch batch batch | waits for its last ones
caller 2:                   | batch batch batch ...

A caller that waits for its last batches leaves streams idle; the next caller's batches fill them.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

_AHEAD = 2
"""Requests for each stream: one is computed, one waits, so that a stream never waits for Python."""
Store = Callable[[NDArray[np.float32]], None]


class InferenceQueue:
    """Thread-safe. Batches are started in the order of the calls."""

    def __init__(self, compiled: Any, streams: int) -> None:
        """`compiled`: an `openvino.CompiledModel` with so many streams."""
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(_AHEAD * streams):
            self._idle.put(compiled.create_infer_request())
        self._turn = threading.Lock()

    def compute(self, batches: Iterable[tuple[list[Any], Store]]) -> None:
        """Compute each batch (its inputs), and pass the model's first output to its `Store` before the memory is used again.
        Raises the model's error, after all started batches have ended."""
        started: deque[tuple[Any, Store]] = deque()
        try:
            with self._turn:
                for inputs, store in batches:
                    request = self._idle_request(started)
                    try:
                        request.start_async(inputs)
                    except BaseException:
                        self._idle.put(request)
                        raise
                    started.append((request, store))
            while started:
                self._finish_oldest(started)
        finally:
            self._abandon(started)

    def _idle_request(self, started: deque[tuple[Any, Store]]) -> Any:
        while True:
            try:
                return self._idle.get_nowait()
            except Empty:
                if not started:
                    return self._idle.get()  # the previous caller returns its requests as they end
                self._finish_oldest(started)

    def _finish_oldest(self, started: deque[tuple[Any, Store]]) -> None:
        request, store = started[0]
        request.wait()
        store(request.get_output_tensor(0).data)
        started.popleft()
        self._idle.put(request)

    def _abandon(self, started: deque[tuple[Any, Store]]) -> None:
        """After an error: wait for the other requests, without their results."""
        for request, _ in started:
            with suppress(Exception):  # the first error is raised
                request.wait()
            self._idle.put(request)
        started.clear()
