"""Knows which changes the workers made: such changes need no work, and a run of them needs no task."""

from collections import defaultdict
from collections.abc import Iterable

Run = tuple[int, int]
"""Sequence numbers without a gap, both ends included."""


class WorkerWrites:
    """Sequence numbers of the workers' conditional writes, by shard, until the live cursor has passed them.

    Within one history of a shard a number identifies one write: numbers repeat only below the ones that an index had when it was
    made by a shrink.
    """

    def __init__(self) -> None:
        self._runs: defaultdict[int, list[Run]] = defaultdict(list)

    @property
    def shards(self) -> set[int]:
        """The shards with writes that the live cursor has not passed."""
        return {shard for shard, runs in self._runs.items() if runs}

    def add(self, shard: int, written: Iterable[Run]) -> None:
        """Add the runs of a worker's report."""
        runs = sorted([*self._runs[shard], *written])
        merged: list[Run] = []
        for first, last in runs:
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
            else:
                merged.append((first, last))
        self._runs[shard] = merged

    def within(self, shard: int, after: int, until: int, most: int) -> list[Run]:
        """The runs in (after, until], in order; the longest `most` of them."""
        cut = [(max(first, after + 1), min(last, until)) for first, last in self._runs[shard]]
        present = [(first, last) for first, last in cut if first <= last]
        longest = sorted(present, key=lambda run: run[0] - run[1])[:most]
        return sorted(longest)

    def end_of_run(self, shard: int, after: int, limit: int) -> int:
        """The last sequence number, at most `limit`, of a run that starts directly after `after`; `after` without such a run."""
        for first, last in self._runs[shard]:
            if first <= after + 1 <= last:
                return max(after, min(last, limit))
        return after

    def forget_up_to(self, shard: int, number: int) -> None:
        """Forget the writes up to `number`, which the cursor has passed."""
        self._runs[shard] = [run for run in self._runs[shard] if run[1] > number]

    def forget_shard(self, shard: int) -> None:
        self._runs.pop(shard, None)

    def clear(self) -> None:
        self._runs.clear()
