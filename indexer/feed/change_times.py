"""When changes were first seen, so that the lag is the age of the oldest change that is not done.

A busy index is never fully caught up: without these times, its lag would count from the last moment when it was.
"""

from collections import deque
from collections.abc import Mapping

from esblend.broker import Lane
from indexer.feed.cursor import Cursor

_MOST = 256
"""The most times kept for a shard. If there are more, every second one is dropped: its changes count as older than they are."""


class ChangeTimes:
    """For each shard: (sequence number, time). Changes up to the number were first seen at the time (seconds since 1970)."""

    def __init__(self, since: float | None = None) -> None:
        """`since`: an earlier process saw the first pending change then."""
        self._since = since
        self._backfill_since = since
        self._seen: dict[int, deque[tuple[int, float]]] = {}

    def note(self, shard: int, last: int, now: float) -> None:
        """All changes up to `last` exist now."""
        seen = self._seen.setdefault(shard, deque([(last, self._since or now)]))
        if not seen or last > seen[-1][0]:
            seen.append((last, now))
        if len(seen) > _MOST:
            numbers, times = [number for number, _ in seen], [time for _, time in seen]
            self._seen[shard] = deque(zip([*numbers[1::2], numbers[-1]], times[::2], strict=True))

    def forget(self, shard: int) -> None:
        """The shard's sequence numbers have begun again."""
        self._seen[shard] = deque()

    def oldest(self, cursors: Mapping[Lane, Mapping[int, Cursor]], now: float) -> float | None:
        """When the first change that is not done was seen; None when all are done. A backfill waits since its start."""
        times = [time for shard, cursor in cursors["live"].items() if (time := self._oldest(shard, cursor.done))]
        self._backfill_since = (self._backfill_since or now) if cursors["backfill"] else None
        if self._backfill_since is not None:
            times.append(self._backfill_since)
        return min(times, default=None)

    def _oldest(self, shard: int, done: int) -> float | None:
        seen = self._seen.get(shard)
        while seen and seen[0][0] <= done:
            seen.popleft()
        return seen[0][1] if seen else None
