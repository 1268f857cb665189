"""More than 150 small attached indices, with metrics on: no lease changes hands, and changes get their vectors within seconds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from esblend.local.ports import FreePorts
from tests.conftest import Stack
from tests.real.faults import kill, process, revive, wait_for
from tests.real.test_metrics import read

INDICES = 160
BEATS = 20
MOST_LAG_SECONDS = 30.0
"""A change waits for one round over all indices, on two cores that other tests share."""


@pytest.fixture
def indices(fault_stack: Stack, index_name: str) -> Iterator[list[str]]:
    """One is attached; the others are created with its mapping, which holds the attachment."""
    stack = fault_stack
    names = [f"{index_name}-{number}" for number in range(INDICES)]
    stack.es.indices.create(
        index=names[0], mappings={"properties": {"body": {"type": "text"}}}, settings={"number_of_replicas": 0}
    )
    stack.attach(names[0], "body")
    mappings = stack.es.indices.get_mapping(index=names[0])[names[0]]["mappings"]
    for name in names[1:]:
        stack.es.indices.create(
            index=name, mappings=mappings, settings={"number_of_replicas": 0}, wait_for_active_shards="0"
        )
    yield names
    revive(stack)
    for name in names:
        stack.es.indices.delete(index=name)


def test_leases_stay_and_the_lag_is_small(fault_stack: Stack, indices: list[str], tmp_path: Path) -> None:
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

    def beats() -> int:
        return max(one.get("beat", 0) for one in bookkeeping())

    def write_all(turn: int) -> None:
        lines: list[Any] = []
        for index in indices:
            lines += [{"index": {"_index": index, "_id": "1"}}, {"body": f"Turn {turn} of {index}."}]
        assert not stack.es.bulk(operations=lines)["errors"]

    def embedded(turn: int) -> bool:
        docs = [{"_index": index, "_id": "1", "_source": ["body", "esblend.g1.passages.end"]} for index in indices]
        found = [doc["_source"] for doc in stack.es.mget(docs=docs)["docs"]]
        ends = [source.get("esblend", {}).get("g1", {}).get("passages", [{}])[0].get("end") for source in found]
        return ends == [len(f"Turn {turn} of {index}.") for index in indices]

    def lags(port: int) -> list[float]:
        values = read(f"http://127.0.0.1:{port}/metrics")
        return [value for name, value in values.items() if name.startswith("esblend_lag_seconds{")]

    with (
        process(stack, "esblend", "feed", place=tmp_path, ESBLEND_METRICS_PORT=str(first)),
        process(stack, "esblend", "feed", place=tmp_path, ESBLEND_METRICS_PORT=str(second)),
    ):
        wait_for("all indices to have an owner", lambda: len(owners()) == INDICES, 120)
        before, beat = owners(), beats()
        most, turn = 0.0, 0
        while beats() < beat + BEATS:
            turn += 1
            text = 10**turn  # texts of each turn have another length
            write_all(text)
            wait_for("the vectors", lambda text=text: embedded(text), 120)  # type: ignore[misc]
            most = max([most, *lags(first), *lags(second)])
        assert owners() == before
        assert most < MOST_LAG_SECONDS
        logs = "".join(file.read_text() for file in tmp_path.glob("ready-*.log"))
        for event in ("another feed follows this index now", "heartbeat late", "heartbeat failed", "unexpected error"):
            assert event not in logs
