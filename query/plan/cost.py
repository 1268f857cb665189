"""Which searches are expensive, judged by the request alone."""

from typing import Any

from query.language.tree import Hybrid, Leg, Search, inside

_MANY_DOCUMENTS = 1000
_MANY_PARTS = 1000
_LONG_TEXT = 200
_CHARACTERS_PER_WORD = 6
_NOT_TEXT = ("pit", "query_vector")


def is_expensive(search: Search, parts: int) -> bool:
    """Whether `from` + `size` or a window is above 1,000, or the request has more than 1,000 words and objects.

    `parts`: `parts_of` the request as the caller sent it.
    """
    return max(search.start + search.size, _window(search.ranking)) > _MANY_DOCUMENTS or parts > _MANY_PARTS


def _window(ranking: Hybrid | Leg) -> int:
    """The largest window that the request names; 0 if it names none."""
    if isinstance(ranking, Hybrid):
        sides = (ranking.interleave.a, ranking.interleave.b) if ranking.interleave else ()
        return max([ranking.window or 0, *map(_window, sides)])
    return max([getattr(ranking, "window", 0), *map(_window, inside(ranking))])


def parts_of(body: dict[str, Any]) -> int:
    """Words and objects of a request. Ids and vectors do not count: a filter on thousands of ids is fast.

    In a text above 200 characters, each six count as a word at least: line breaks, commas or nothing may separate words.
    """
    parts = 0
    waiting: list[Any] = [body]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            parts += 1
            waiting += [inner for key, inner in value.items() if key not in _NOT_TEXT]
        elif isinstance(value, list):
            if value and not isinstance(value[0], int | float):
                waiting += value
        elif isinstance(value, str):
            spaces = value.count(" ")
            parts += max(spaces, len(value) // _CHARACTERS_PER_WORD) if len(value) > _LONG_TEXT else spaces
    return parts
