"""The settings of an index that every reader must respect: whether it is open, and the size of a page."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from esblend.errors import IndexClosed

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

DEFAULT_RESULT_WINDOW = 10_000
"""Elasticsearch's default of `index.max_result_window`."""


def is_closed(settings: Mapping[str, Any]) -> bool:
    """`settings`: flat, as for all functions of this module. Elasticsearch removes the setting when the index is opened."""
    return settings.get("index.verified_before_close") == "true"


def require_open(index: str, settings: Mapping[str, Any]) -> None:
    """Raises IndexClosed, which names the request that opens the index."""
    if is_closed(settings):
        problem = f"index [{index}] is closed: open it (POST /{index}/_open), then repeat this"
        raise IndexClosed(f"{problem} request", command_line=f"{problem} command")


def result_window(settings: Mapping[str, Any]) -> int:
    """The largest number of hits of one search, and of one page of `_update_by_query` and `_reindex`."""
    return int(settings.get("index.max_result_window", DEFAULT_RESULT_WINDOW))


def page_size(es: "Elasticsearch", index: str, wanted: int) -> int:
    """`wanted`, or fewer where the index allows only smaller pages. Raises IndexClosed, because no page can be read then."""
    settings = es.indices.get_settings(index=index, flat_settings=True)[index]["settings"]
    require_open(index, settings)
    return min(wanted, result_window(settings))
