"""Knows which changes the workers made: such changes need no work, and a run of them needs no search."""

from collections import defaultdict

_PRUNE_AT = 20_000


class WorkerWrites:
    """Sequence numbers of the workers' conditional writes, by shard, until the live cursor has passed them."""

    def __init__(self) -> None:
        self._by_shard: defaultdict[int, dict[int, str]] = defaultdict(dict)

    def add(self, shard: int, written: dict[str, int]) -> None:
        """`written`: sequence numbers by document id."""
        self._by_shard[shard].update({seq_no: id_ for id_, seq_no in written.items()})

    def contains(self, shard: int, seq_no: int, id_: str) -> bool:
        """Whether a worker made exactly this change."""
        return self._by_shard[shard].get(seq_no) == id_

    def end_of_run(self, shard: int, after: int, limit: int) -> int:
        """The last sequence number, at most `limit`, of an unbroken run of workers' writes that starts directly after `after`.
        Returns `after` if the run is empty."""
        writes = self._by_shard[shard]
        end = after
        while end < limit and end + 1 in writes:
            end += 1
        if len(writes) > _PRUNE_AT:
            self._by_shard[shard] = {seq_no: id_ for seq_no, id_ in writes.items() if seq_no > end}
        return end

    def forget_shard(self, shard: int) -> None:
        self._by_shard.pop(shard, None)

    def clear(self) -> None:
        self._by_shard.clear()
