"""Finds keys that an object has twice. Elasticsearch rejects them; a JSON parser would silently drop the first value."""

import json
import re
from typing import Any

_KEY = re.compile(rb'"\s*:')


def duplicate_key(data: bytes, parsed: Any) -> str | None:
    """A key that an object of the JSON has twice. `parsed`: the same JSON, parsed."""
    # A string may contain what looks like a key, so a higher count proves nothing.
    if len(_KEY.findall(data)) == _count_keys(parsed):
        return None
    repeated: list[str] = []

    def check(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                repeated.append(key)
            seen.add(key)

    try:
        json.loads(data, object_pairs_hook=check)
    except (RecursionError, ValueError):
        return None
    return repeated[0] if repeated else None


def _count_keys(parsed: Any) -> int:
    count, waiting = 0, [parsed]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            count += len(value)
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(item for item in value if isinstance(item, dict | list))
    return count
