"""Divides the attached indices evenly between the live feed processes. Each process computes the same division by itself.

Rendezvous hashing (Thaler and Ravishankar, IEEE/ACM Transactions on Networking 1998) ranks the processes for each index. An index
goes to the first one in its ranking that has room, as with bounded loads (Mirrokni, Thorup, Zadimoghaddam, SODA 2018). When a
process comes or goes, little more than its own share moves.
"""

from collections.abc import Collection, Iterable
from hashlib import blake2b

_ROOM = 1.25
"""The highest share relative to the mean. Without slack, one new index would move several others."""


class Shares:
    """Remembers the rankings: with fifty processes and ten thousand indices they take half a second."""

    def __init__(self) -> None:
        self._members: tuple[str, ...] = ()
        self._rankings: dict[str, tuple[bytes, list[str]]] = {}

    def of(self, keys: Collection[str], members: Iterable[str]) -> dict[str, str]:
        """The member of each key; empty without members. No member has more than 1.25 times the mean, rounded up to the mean's next
        whole number where that is more."""
        sorted_members = tuple(sorted(members))
        if sorted_members != self._members:
            self._members, self._rankings = sorted_members, {}
        if not sorted_members:
            return {}
        self._rankings = {key: self._rankings.get(key) or self._ranking(key) for key in keys}
        mean = len(keys) / len(sorted_members)
        room = max(-(-len(keys) // len(sorted_members)), int(_ROOM * mean))
        rooms = dict.fromkeys(sorted_members, room)
        shares: dict[str, str] = {}
        for key, (_, ranking) in sorted(self._rankings.items(), key=lambda item: item[1][0]):
            shares[key] = next(member for member in ranking if rooms[member])
            rooms[shares[key]] -= 1
        return shares

    def _ranking(self, key: str) -> tuple[bytes, list[str]]:
        """The key's place among the keys, and the members in the key's order."""
        return _hash(key), sorted(self._members, key=lambda member: _hash(key, member))


def _hash(*parts: str) -> bytes:
    return blake2b("/".join(parts).encode(), digest_size=8).digest()
