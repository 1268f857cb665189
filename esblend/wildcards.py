"""Patterns with `*` for any characters, as Elasticsearch reads them in names of fields and in `filter_path`.

The standard library's `fnmatch` turns a pattern into a regular expression. To compile one with hundreds of stars takes 25 ms, and a
caller may send many.
"""

from collections.abc import Iterable


class Wildcard:
    """A pattern. Matching a name takes time linear in the product of their lengths at most."""

    def __init__(self, pattern: str) -> None:
        first, *rest = pattern.split("*")
        self._is_exact = not rest
        self._first = first
        self._last = rest[-1] if rest else ""
        self._middle = [part for part in rest[:-1] if part]
        self._shortest = sum(map(len, (first, *rest)))

    def matches(self, name: str) -> bool:
        """Each part between stars is searched after the previous one; the earliest match is always enough."""
        if self._is_exact or len(name) < self._shortest:
            return name == self._first and self._is_exact
        if not name.startswith(self._first) or not name.endswith(self._last):
            return False
        position, end = len(self._first), len(name) - len(self._last)
        for part in self._middle:
            position = name.find(part, position, end)
            if position < 0:
                return False
            position += len(part)
        return True


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """The names that match, in their order."""
    wildcard = Wildcard(pattern)
    return [name for name in names if wildcard.matches(name)]
