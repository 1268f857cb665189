"""Lists of index names that fit into a URL."""

from collections.abc import Iterable, Iterator
from urllib.parse import quote

MAX_CHARACTERS = 3000
"""Elasticsearch rejects a request line of more than 4 KiB."""


def length(names: Iterable[str]) -> int:
    """The characters of these names in a URL, with their commas. One that is not ASCII takes up to twelve."""
    return sum(len(quote(name)) + 1 for name in names)


def portions(names: Iterable[str]) -> Iterator[list[str]]:
    """The names in lists that each fit into a URL."""
    portion: list[str] = []
    left = MAX_CHARACTERS
    for name in names:
        size = length([name])
        if portion and size > left:
            yield portion
            portion, left = [], MAX_CHARACTERS
        portion.append(name)
        left -= size
    if portion:
        yield portion
