"""160 attached indices, with metrics on: no lease changes hands, and every change gets its vectors."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from esblend.local.ports import FreePorts
from tests.conftest import Stack
from tests.real.faults import kill, process, revive, wait_for
from tests.real.test_metrics import read

INDICES = 160
BEATS = 8
"""Twice as many heartbeats as a process may miss."""


@pytest.fixture
def indices(fault_stack: Stack, index_name: str) -> Iterator[list[str]]:
    """The first is attached and serves as the template; the first bulk request creates the others at once."""
    es = fault_stack.es
    names = [f"{index_name}-{number}" for number in range(INDICES)]
    settings = {"number_of_shards": 1, "number_of_replicas": 0}
    es.indices.create(index=names[0], mappings={"properties": {"body": {"type": "text"}}}, settings=settings)
    fault_stack.attach(names[0], "body")
    mappings = es.indices.get_mapping(index=names[0])[names[0]]["mappings"]
    template = {"mappings": mappings, "settings": settings}
    es.indices.put_index_template(name=index_name, index_patterns=[f"{index_name}-*"], template=template)
    yield names
    revive(fault_stack)
    es.indices.delete_index_template(name=index_name)
    for start in range(0, INDICES, 40):
        es.options(request_timeout=180).indices.delete(index=names[start : start + 40], ignore_unavailable=True)


def test_leases_stay_where_they_are(fault_stack: Stack, indices: list[str], tmp_path: Path) -> None:
    stack = fault_stack
    kill(stack, "feed")
    with FreePorts() as ports:
        first, second = ports.choose(0), ports.choose(0)

    def bookkeeping() -> list[dict[str, Any]]:
        stack.es.indices.refresh(index="esblend-checkpoints")
        hits = stack.es.search(index="esblend-checkpoints", size=1000)["hits"]["hits"]
        return [hit["_source"] for hit in hits]

    def owners() -> dict[str, str]:
        return {one["index"]: one["owner"] for one in bookkeeping() if one.get("owner") and one.get("index") in indices}

    def write_all(text: str) -> None:
        lines: list[Any] = []
        for index in indices:
            lines += [{"index": {"_index": index, "_id": "1"}}, {"body": text}]
        assert not stack.es.options(request_timeout=180).bulk(operations=lines)["errors"]

    def are_embedded(text: str) -> bool:
        docs = [{"_index": index, "_id": "1", "_source": ["esblend.g1.passages.end"]} for index in indices]
        found = [doc["_source"] for doc in stack.es.mget(docs=docs)["docs"]]
        ends = [source.get("esblend", {}).get("g1", {}).get("passages", [{}])[0].get("end") for source in found]
        return ends == [len(text)] * INDICES

    def metrics() -> dict[str, float]:
        both = [read(f"http://127.0.0.1:{port}/metrics") for port in (first, second)]
        return {key: max(values.get(key, 0.0) for values in both) for key in both[0].keys() | both[1].keys()}

    write_all("At first.")
    with (
        process(stack, "esblend", "feed", place=tmp_path, ESBLEND_METRICS_PORT=str(first)),
        process(stack, "esblend", "feed", place=tmp_path, ESBLEND_METRICS_PORT=str(second)),
    ):
        wait_for("an owner of each index", lambda: len(owners()) == INDICES, 300)
        before, begun = owners(), metrics()["esblend_feed_heartbeats_total"]
        write_all("A longer text.")
        wait_for("the vectors", lambda: are_embedded("A longer text."), 300)
        wait_for("heartbeats", lambda: metrics()["esblend_feed_heartbeats_total"] >= begun + BEATS, 300)
        log = "".join(file.read_text() for file in tmp_path.glob("ready-*.log"))
        # On a machine that stops a process for seconds, the other one takes over, as it should.
        if "heartbeat late" not in log and "heartbeat failed" not in log:
            assert owners() == before
            assert "another feed follows this index now" not in log
        coverage = 'esblend_coverage_ratio{index="'
        wait_for("the coverage", lambda: any(key.startswith(coverage) for key in metrics()), 120)
        assert {
            name for name in before if f'esblend_lag_seconds{{generation="g1",index="{name}"}}' in metrics()
        } == set(indices)
