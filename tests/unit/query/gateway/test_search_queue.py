"""Under overload, searches that would wait too long are refused at once."""

from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from esblend.errors import TooManyRequests
from query.gateway.search_queue import SearchQueue


class Callers:
    """Searches in progress, by a clock that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, budget: float) -> None:
        self.queue = SearchQueue(budget)
        self.running: list[ExitStack] = []
        self.now = 0.0
        monkeypatch.setattr("query.gateway.search_queue.time", SimpleNamespace(monotonic=lambda: self.now))

    def arrive(self) -> bool:
        slot = ExitStack()
        try:
            slot.enter_context(self.queue.place())
        except TooManyRequests:
            return False
        self.running.append(slot)
        return True

    def answer(self, seconds: float) -> None:
        self.now += seconds
        self.running.pop(0).close()

    def fail(self) -> None:
        with pytest.raises(ValueError, match="failed"), self.running.pop(0):
            raise ValueError("failed")


def test_at_twice_the_capacity_half_of_the_searches_are_answered_within_the_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    callers = Callers(monkeypatch, budget=1.0)
    admitted = 0
    for _ in range(2000):  # two arrive while one is answered: 100 a second
        admitted += callers.arrive() + callers.arrive()
        callers.answer(0.01)
        # About the budget's worth of work, and a few more while the average is learnt.
        assert len(callers.running) < 150
    assert 2000 <= admitted < 2150


def test_few_searches_are_never_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    callers = Callers(monkeypatch, budget=0.001)
    for _ in range(200):
        assert callers.arrive()
        if len(callers.running) > 20:
            callers.answer(5.0)


def test_an_idle_time_is_not_taken_for_a_slow_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    callers = Callers(monkeypatch, budget=1.0)
    for _ in range(50):
        callers.arrive()
    while callers.running:
        callers.answer(0.01)
    callers.now += 3600
    assert all(callers.arrive() for _ in range(90))


def test_slow_searches_that_wait_for_nobody_are_never_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 arrive in a second, and each takes 3 s, whatever the others do."""
    callers = Callers(monkeypatch, budget=1.0)
    for number in range(3000):
        assert callers.arrive(), number
        callers.now += 0.01
        if len(callers.running) == 300:
            callers.answer(0)


def test_an_idle_time_after_failed_searches_is_not_taken_for_a_slow_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    callers = Callers(monkeypatch, budget=1.0)
    for _ in range(40):
        callers.arrive()
    callers.answer(0.01)
    while callers.running:
        callers.fail()
    callers.now += 3600
    for _ in range(40):
        callers.arrive()
    callers.answer(0.01)
    assert callers.arrive()


def test_a_failed_search_frees_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = SearchQueue(1.0)
    for _ in range(100):
        with pytest.raises(ValueError, match="failed"), queue.place():
            raise ValueError("failed")
    with queue.place():
        pass
