"""Which changes are the workers' own: they need no work, and where nothing else was written, no reading either."""

from collections import defaultdict

_PRUNE_AT = 20_000


class OwnWrites:
    """Sequence numbers of conditional writes, by shard, until the live cursor has gone over them."""

    def __init__(self) -> None:
        self._by_shard: defaultdict[int, dict[int, str]] = defaultdict(dict)

    def add(self, shard: int, written: dict[str, int]) -> None:
        """`written`: sequence numbers by document id."""
        self._by_shard[shard].update({seq_no: id_ for id_, seq_no in written.items()})

    def is_own(self, shard: int, seq_no: int, id_: str) -> bool:
        """Whether this very change is a worker's."""
        return self._by_shard[shard].get(seq_no) == id_

    def end_of_run(self, shard: int, after: int, limit: int) -> int:
        """The last of the changes from `after` on, up to `limit`, that are own ones without a gap; `after` when there is none."""
        own = self._by_shard[shard]
        end = after
        while end < limit and end + 1 in own:
            end += 1
        if len(own) > _PRUNE_AT:
            self._by_shard[shard] = {seq_no: id_ for seq_no, id_ in own.items() if seq_no > end}
        return end

    def clear(self) -> None:
        self._by_shard.clear()
