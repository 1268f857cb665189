"""Delays changes until a shard's change is a configured number of seconds old (`feed_quiet_seconds`)."""

from collections import deque
from dataclasses import dataclass, field

_STEPS = 10
"""Checkpoints remembered per period; the delay is exact to a tenth."""


@dataclass
class QuietPeriod:
    """Remembers when each global checkpoint of a shard was first seen. Documents have no time of their last write; the time at
    which the feed first saw a sequence number is the closest substitute."""

    seconds: float
    _seen: dict[int, deque[tuple[float, int]]] = field(default_factory=dict)

    def readable(self, shard: int, global_checkpoint: int, now: float) -> int:
        """The highest sequence number of the shard that the feed saw at least `seconds` ago; -1 when there is none."""
        if self.seconds <= 0:
            return global_checkpoint
        seen = self._seen.setdefault(shard, deque([(float("-inf"), -1)]))
        if global_checkpoint < seen[-1][1]:  # another history of the shard
            seen.clear()
            seen.append((float("-inf"), -1))
        if global_checkpoint > seen[-1][1] and now - seen[-1][0] >= self.seconds / _STEPS:
            seen.append((now, global_checkpoint))
        while len(seen) > 1 and now - seen[1][0] >= self.seconds:
            seen.popleft()
        return seen[0][1]
