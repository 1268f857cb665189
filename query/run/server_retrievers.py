"""Which retrievers a server executes itself, so that esblend leaves them to it."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from mappings.capabilities import Version
from query.language.retrievers import MAX_DEPTH
from query.run.semantic import is_vector_name
from query.targets.target import Target

# First version with each retriever, and with hidden vectors, from Elasticsearch's documentation.
_SINCE: dict[str, Version] = {"rescorer": (8, 18), "diversify": (9, 3)}
HIDES_VECTORS: Version = (9, 2)
"""From this version on, `_source` contains vectors only where a request asks for them."""
Targets = Callable[[], Awaitable[Sequence[Target]]]


async def server_executes(retriever: dict[str, Any], version: Version | None, targets: Targets) -> bool:
    """Whether a server of this version executes a tree of `rescorer`, `diversify`, `standard` and `knn`.

    It does not know the attachment's field by its short names, and finds no vector of a nested field: those trees are
    esblend's. `targets`: the attached indices of the search, read where it matters.
    """
    kinds = list(_wrappers(retriever))
    known = version or _SINCE["rescorer"]
    if any(known < _SINCE.get(kind, known) for kind, _ in kinds):
        return False
    fields = [str(inside.get("field")) for kind, inside in kinds if kind == "diversify"]
    if not fields:
        return True
    attachments = [target.attachment for target in await targets()]
    return not any(is_vector_name(field, attachment) for field in fields for attachment in attachments)


def _wrappers(retriever: Any, depth: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(retriever, dict) or depth > MAX_DEPTH:
        return
    for kind, inside in retriever.items():
        if isinstance(inside, dict):
            yield kind, inside
            yield from _wrappers(inside.get("retriever"), depth + 1)
