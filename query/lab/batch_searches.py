"""Runs systems over a query set through the gateway, many queries in one `_msearch`."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from elasticsearch import Elasticsearch

from esblend.errors import UpstreamError
from query.lab.judgements import Judged
from query.lab.systems import Body, System

Run = Mapping[str, Mapping[str, float]]
"""Scores by query id and document id, as in a TREC run."""
BATCH_QUERIES = 32
"""Queries in one request: a batch of the gateway's encoder."""
Advance = Callable[[int], None]


def search_all(
    es: Elasticsearch, index: str, bodies: Mapping[str, Body], advance: Advance = lambda _: None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(query id, response) of each body. Raises UpstreamError with the first error."""
    ids = list(bodies)
    for start in range(0, len(ids), BATCH_QUERIES):
        part = ids[start : start + BATCH_QUERIES]
        lines = [line for id_ in part for line in ({}, bodies[id_])]
        batch = es.options(request_timeout=300).msearch(index=index, searches=lines)
        for id_, response in zip(part, batch["responses"], strict=True):
            if "error" in response:
                raise UpstreamError(int(response.get("status", 500)), response)
            yield id_, response
        advance(len(part))


def run_system(es: Elasticsearch, index: str, system: System, judged: Judged, advance: Advance = lambda _: None) -> Run:
    """A system's hits for every query. The score of a document is its rank from the end."""
    bodies = {id_: system.body(text) for id_, text in judged.queries.items()}
    return {id_: _scores(response) for id_, response in search_all(es, index, bodies, advance)}


def _scores(response: Mapping[str, Any]) -> dict[str, float]:
    """Scores by rank. ir-measures breaks ties by document id, but people see the order of the hits."""
    hits = response["hits"]["hits"]
    return {hit["_id"]: float(len(hits) - rank) for rank, hit in enumerate(hits)}


def latencies(es: Elasticsearch, index: str, systems: Sequence[System], texts: Sequence[str]) -> dict[str, list[float]]:
    """Milliseconds of single searches with ten hits, one after the other; the systems take turns."""
    milliseconds: dict[str, list[float]] = {system.name: [] for system in systems}
    for text in texts:
        for system in systems:
            body = {**system.body(text), "size": 10}
            began = time.perf_counter()
            es.search(index=index, body=body)
            milliseconds[system.name].append((time.perf_counter() - began) * 1000)
    return milliseconds
