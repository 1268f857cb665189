"""Reads the answers of `_mget`, in which a document that cannot be read looks almost like one that does not exist."""

from collections.abc import Iterable, Mapping
from typing import Any

from esblend.errors import IndexUnavailable


def exists(item: Mapping[str, Any], index: str) -> bool:
    """Whether the document of an item exists; not when its index does not exist.

    Raises IndexUnavailable for an item with another error: for one, no copy of its shard may be available.
    """
    if "error" not in item:
        return bool(item.get("found"))
    if item["error"].get("type") == "index_not_found_exception":
        return False
    raise IndexUnavailable(f"documents of [{index}] cannot be read: {item['error'].get('reason')}")


def existing(items: Iterable[dict[str, Any]], index: str) -> list[dict[str, Any]]:
    """The items whose document exists. Raises IndexUnavailable."""
    return [item for item in items if exists(item, index)]
