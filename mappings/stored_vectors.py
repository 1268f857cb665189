"""Removes stored vectors from documents: of dropped generations, of earlier attachments, or all vectors."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from esblend.errors import UpstreamUnavailable
from mappings.index_state import page_size

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

_POLL_SECONDS = 0.5
_ATTEMPTS = 10
_PAGE = 1000
_REMOVE = """
def stored = ctx._source[params.field];
boolean isHeld = false;
if (stored instanceof Map) { for (String generation : params.generations) { isHeld |= stored.remove(generation) != null; } }
if (!isHeld) { ctx.op = 'noop'; }
else if (stored.isEmpty()) { ctx._source.remove(params.field); }
"""


def generations_in(mapping: Mapping[str, Any], field: str) -> set[str]:
    """Names of the generations that a mapping has fields for. Elasticsearch keeps the fields of dropped ones."""
    inside = ((mapping.get("properties") or {}).get(field) or {}).get("properties") or {}
    return {name for name, body in inside.items() if "fingerprint" in (body.get("properties") or {})}


def holding(field: str, generations: Sequence[str]) -> dict[str, Any]:
    """A query for the documents that hold one of `generations`."""
    return {"bool": {"should": [{"exists": {"field": f"{field}.{name}.state"}} for name in generations]}}


def remove_generations(
    es: "Elasticsearch", index: str, field: str, generations: Sequence[str], documents: dict[str, Any]
) -> int:
    """Remove the objects of `generations` from the documents that match a query; returns the number of documents changed.

    It runs as `_update_by_query` with the caller's privileges and raises versions, so never for external versioning. It repeats
    until nothing changes: other writes may come first, and a task in progress may still write to a dropped generation.
    Raises UpstreamUnavailable when some remain, or IndexClosed.
    """
    if not generations:
        return 0
    changed, page = 0, page_size(es, index, _PAGE)
    for _ in range(_ATTEMPTS):
        es.indices.refresh(index=index)
        script = {"lang": "painless", "source": _REMOVE, "params": {"field": field, "generations": list(generations)}}
        task = es.update_by_query(
            index=index, query=documents, script=script, conflicts="proceed", scroll_size=page, wait_for_completion=False,
            refresh=True,
        )["task"]  # fmt: skip
        while not (state := es.tasks.get(task_id=str(task)))["completed"]:
            time.sleep(_POLL_SECONDS)
        response = state["response"]
        changed += int(response["updated"])
        if not response["updated"] and not response["version_conflicts"]:
            return changed
    raise UpstreamUnavailable(f"some vectors of [{index}] could not be removed: other writes came first; try again")
