"""Which searches are expensive, judged by the request alone."""

from typing import Any

from query.language.tree import Hybrid, Leg, Search, inside

_MANY_DOCUMENTS = 1000
_MANY_PARTS = 1000


def is_expensive(search: Search, body: dict[str, Any]) -> bool:
    """Whether a search reads more than 1,000 documents of a leg, shows more on its page, or has more than 1,000 words and objects.

    `body`: the request that `search` was parsed from.
    """
    return max(search.start + search.size, _window(search.ranking)) > _MANY_DOCUMENTS or _parts(body) > _MANY_PARTS


def _window(ranking: Hybrid | Leg) -> int:
    """The largest window that the request names; 0 if it names none."""
    if isinstance(ranking, Hybrid):
        return ranking.window or 0
    return max([getattr(ranking, "window", 0), *map(_window, inside(ranking))])


def _parts(body: dict[str, Any]) -> int:
    """Objects, and spaces between words. Ids and vectors do not count: a filter on thousands of ids is fast."""
    parts = 0
    waiting: list[Any] = [body]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            parts += 1
            waiting += value.values()
        elif isinstance(value, list):
            if value and not isinstance(value[0], int | float):
                waiting += value
        elif isinstance(value, str):
            parts += value.count(" ")
    return parts
