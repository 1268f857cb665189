"""Batches of several callers on the streams of one model."""

import threading
from collections import deque
from typing import Any

import numpy as np
import pytest

from esblend.encoder.inference_queue import InferenceQueue


class Request:
    """A request whose result is its input, twice; it ends when it is let go."""

    def __init__(self, model: "CompiledModel") -> None:
        self.model = model
        self.inputs: Any = None

    def start_async(self, inputs: Any) -> None:
        self.inputs = inputs[0].copy()
        self.ended = threading.Event()
        self.model.running.append(self)
        self.model.started.release()
        if self.model.ends_at_once:
            self.ended.set()

    def wait(self) -> None:
        assert self.ended.wait(60)
        if self.inputs[0] < 0:
            raise RuntimeError("not a word piece")

    def get_output_tensor(self, _: int) -> Any:
        class Tensor:
            data = 2 * self.inputs

        return Tensor


class CompiledModel:
    def __init__(self, *, ends_at_once: bool = True) -> None:
        self.ends_at_once = ends_at_once
        self.running: deque[Request] = deque()
        self.started = threading.Semaphore(0)

    def create_infer_request(self) -> Request:
        return Request(self)


def compute(queue: InferenceQueue, values: list[int]) -> list[int]:
    results: dict[int, int] = {}

    def batch(value: int) -> Any:
        return [np.array([value])], lambda vectors: results.update({value: int(vectors[0])})

    queue.compute(batch(value) for value in values)
    return [results[value] for value in values]


def test_each_batch_gets_its_own_result() -> None:
    assert compute(InferenceQueue(CompiledModel(), 2), list(range(1, 20))) == [2 * value for value in range(1, 20)]


def test_a_second_caller_starts_while_the_first_one_waits_for_its_last_batch() -> None:
    model = CompiledModel(ends_at_once=False)
    queue = InferenceQueue(model, 1)
    results: dict[str, list[int]] = {}
    callers = [
        threading.Thread(target=lambda name, value: results.update({name: compute(queue, [value])}), args=pair)
        for pair in (("first", 1), ("second", 2))
    ]
    for caller in callers:
        caller.start()
    for _ in callers:
        assert model.started.acquire(timeout=60)
    assert results == {}
    for request in model.running:
        request.ended.set()
    for caller in callers:
        caller.join(60)
    assert results == {"first": [2], "second": [4]}


def test_an_error_reaches_its_caller_and_the_queue_stays_usable() -> None:
    queue = InferenceQueue(CompiledModel(), 2)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="not a word piece"):
            compute(queue, [1, -1, 2, 3, 4, 5, 6])
    assert compute(queue, [5, 6, 7, 8, 9]) == [10, 12, 14, 16, 18]
