"""A position in one shard's sequence of changes, that only moves over work that is done."""

from collections import deque
from dataclasses import dataclass, field


@dataclass
class Span:
    """Changes up to sequence number `until`, and the task that works on them (None: there was nothing to do)."""

    until: int
    task: str | None


@dataclass
class Cursor:
    """`done`: every change up to here has its vector (or none to come). `sent`: every change up to here is in a task.

    Tasks may finish in any order; `done` follows only as far as all before are finished.
    """

    done: int
    end: int | None = None
    """Where a backfill stops; None for the live cursor, which never does."""
    sent: int = field(init=False)
    spans: deque[Span] = field(init=False, default_factory=deque)

    def __post_init__(self) -> None:
        self.sent = self.done

    @property
    def is_finished(self) -> bool:
        return self.end is not None and self.done >= self.end

    def send(self, until: int, task: str | None) -> None:
        """Note that the changes after `sent` up to `until` went into `task`."""
        if until < self.sent:
            raise ValueError(f"cannot send back to {until} from {self.sent}")
        self.sent = until
        self.spans.append(Span(until, task))
        self._advance()

    def finish(self, task: str) -> None:
        """Note that a task is done. One that is unknown here is ignored."""
        for span in self.spans:
            if span.task == task:
                span.task = None
        self._advance()

    def forget_unfinished(self) -> None:
        """Go back to `done`: whatever was sent and not finished will be read again."""
        self.spans.clear()
        self.sent = self.done

    def _advance(self) -> None:
        while self.spans and self.spans[0].task is None:
            self.done = self.spans.popleft().until
