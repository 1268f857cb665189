"""A position in one shard's sequence of changes. It advances only over completed work."""

from collections import deque
from dataclasses import dataclass, field


@dataclass(eq=False)
class Span:
    """The changes with sequence numbers in (`after`, `until`], and the unfinished task that holds them."""

    after: int
    until: int
    task: str | None = None
    is_unsent: bool = False
    """Its task failed, was lost, or stopped before it; the changes must be sent again."""

    @property
    def is_done(self) -> bool:
        return self.task is None and not self.is_unsent


@dataclass
class Cursor:
    """`done`: every change up to here is complete. `sent`: every change up to here is in a span.

    Tasks may finish in any order; `done` advances only when all earlier spans are complete. `sent` never moves back.
    """

    done: int
    end: int | None = None
    """The last change of a backfill; None for the live cursor, which has no end."""
    sent: int = field(init=False)
    spans: deque[Span] = field(init=False, default_factory=deque)

    def __post_init__(self) -> None:
        self.sent = self.done

    @property
    def is_finished(self) -> bool:
        return self.end is not None and self.done >= self.end

    @property
    def unsent(self) -> list[Span]:
        return [span for span in self.spans if span.is_unsent]

    def next_unsent(self, limit: int) -> tuple[int, int] | None:
        """The first changes up to `limit` that no task holds, as (after, until]; None when there are none."""
        span = next((span for span in self.spans if span.is_unsent), None)
        if span is not None:
            return span.after, span.until
        return (self.sent, limit) if self.sent < limit else None

    def send(self, until: int, task: str | None = None) -> None:
        """Record that the next unsent changes up to `until` are in `task`; no task: they needed no work."""
        for position, span in enumerate(self.spans):
            if span.is_unsent:
                self._split(position, min(until, span.until))
                span.task, span.is_unsent = task, False
                self._merge(position)
                break
        else:
            if until < self.sent:
                raise ValueError(f"cannot send back to {until} from {self.sent}")
            self.spans.append(Span(self.sent, until, task))
            self.sent = until
            self._merge(len(self.spans) - 1)
        self._advance()

    def finish(self, task: str, until: int | None = None) -> None:
        """Record that a task is done, up to `until` if it stopped earlier: the rest becomes unsent. Unknown tasks are ignored."""
        for position, span in enumerate(self.spans):
            if span.task == task:
                reached = span.until if until is None else min(until, span.until)
                if reached > span.after:
                    self._split(position, reached)
                    span.task = None
                    self._merge(position)
                else:
                    span.task, span.is_unsent = None, True
                break
        self._advance()

    def lose(self, task: str) -> None:
        """Record that a task failed or was lost: its changes become unsent."""
        for span in self.spans:
            if span.task == task:
                span.task, span.is_unsent = None, True

    def _split(self, position: int, until: int) -> None:
        """End the span at `until`; the changes after it become an unsent span."""
        span = self.spans[position]
        if until < span.until:
            self.spans.insert(position + 1, Span(until, span.until, is_unsent=True))
            span.until = until

    def _merge(self, position: int) -> None:
        """Join a finished span with its finished neighbours. Otherwise their number would grow while an earlier span fails."""
        for first in (position, position - 1):
            if 0 <= first < len(self.spans) - 1 and self.spans[first].is_done and self.spans[first + 1].is_done:
                self.spans[first].until = self.spans[first + 1].until
                del self.spans[first + 1]

    def _advance(self) -> None:
        while self.spans and self.spans[0].is_done:
            self.done = self.spans.popleft().until
