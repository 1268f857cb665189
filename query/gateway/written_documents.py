"""Which documents a write changed, from its body and Elasticsearch's response."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.types import Scope

from esblend import exact_json
from query.gateway.routing import url_parameters


@dataclass(frozen=True)
class Written:
    """A document that a request wrote; `index` is concrete."""

    index: str
    id: str
    routing: str | None
    seq_no: int
    """The sequence number of the written version."""


def written_changes(response: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """(concrete index, id, sequence number) of each document that a write changed, from its response."""
    results = [result for item in response["items"] for result in item.values()] if "items" in response else [response]
    return [(result["_index"], result["_id"], result["_seq_no"]) for result in results if "_seq_no" in result]


def written_documents(scope: Scope, body: bytes, response: Mapping[str, Any]) -> list[Written]:
    """The documents that a write created or updated, from its response; deletions and failures are left out."""
    routing = url_parameters(scope).get("routing")
    if "items" not in response:
        exists = response.get("result") in ("created", "updated", "noop")
        return [_written(response, routing)] if exists else []
    documents: dict[tuple[str, str, str | None], Written] = {}
    for action, item in zip(_actions(body), response["items"], strict=False):
        [(name, result)] = item.items()
        if name != "delete" and result["status"] < 300:
            document_routing = action.get("routing", action.get("_routing", routing))
            written = _written(result, document_routing)
            documents[written.index, written.id, written.routing] = written
    return list(documents.values())


def _written(result: Mapping[str, Any], routing: str | None) -> Written:
    return Written(result["_index"], result["_id"], routing, result.get("_seq_no", -1))


def _actions(body: bytes) -> Iterator[dict[str, Any]]:
    """The metadata of each action of a bulk body, in order."""
    lines = iter(body.split(b"\n"))
    for line in lines:
        if not line.strip():
            continue
        [(name, metadata)] = exact_json.loads(line).items()
        if name != "delete":
            next(lines, None)
        yield metadata or {}
