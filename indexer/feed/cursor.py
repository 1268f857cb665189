"""A position in one shard's sequence of changes. It advances only over completed work."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(eq=False)
class Span:
    """The changes with sequence numbers in (`after`, `until`], and the unfinished tasks that hold them."""

    after: int
    until: int
    tasks: set[str]
    is_unsent: bool = False
    """A task of it failed or was lost; the changes must be read and sent again."""

    @property
    def is_done(self) -> bool:
        return not self.tasks and not self.is_unsent


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

    def send(self, until: int, tasks: Iterable[str] = ()) -> None:
        """Record that the changes after `sent` up to `until` are in `tasks`; no tasks: they needed no work."""
        if until < self.sent:
            raise ValueError(f"cannot send back to {until} from {self.sent}")
        self.spans.append(Span(self.sent, until, set(tasks)))
        self.sent = until
        self._advance()

    def send_again(self, span: Span, tasks: Iterable[str]) -> None:
        """Record that the changes of an unsent span are in new `tasks`."""
        span.tasks, span.is_unsent = set(tasks), False
        self._advance()

    def finish(self, task: str) -> None:
        """Record that a task is done. Unknown tasks are ignored."""
        for span in self.spans:
            span.tasks.discard(task)
        self._advance()

    def lose(self, task: str) -> set[str]:
        """Record that a task failed or was lost: its span becomes unsent. Returns all tasks of that span, which are ignored
        from now on."""
        for span in self.spans:
            if task in span.tasks:
                lost, span.tasks, span.is_unsent = span.tasks, set(), True
                return lost
        return set()

    def _advance(self) -> None:
        while self.spans and self.spans[0].is_done:
            self.done = self.spans.popleft().until
