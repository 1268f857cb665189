"""The cost of attached indices without writes: CPU of feed and Elasticsearch, requests a second, lag of a write into one."""

import os
import statistics
import time
from collections.abc import Sequence
from typing import Any

import psutil

from bench.pipeline import INDEX_BODY
from bench.report import write
from bench.stack import BenchStack, bench_stack

COUNTS = tuple(int(count) for count in os.environ.pop("ESBLEND_BENCH_INDICES", "2,1000,4000").split(","))
"""Taken out of the environment, because esblend rejects settings that it does not know. An empty shard keeps three files open, and
Elasticsearch needs about 0.4 MB of heap for it."""
HEAP = "-Xmx3g"
WATCH_SECONDS = 25
REST_SECONDS = 35
BUSY = 2
LAGS = 5
CREATED_AT_ONCE = 200


def cpu_seconds(processes: list[psutil.Process]) -> float:
    return sum(sum(one.cpu_times()[:2]) for one in processes)


def requests(stack: BenchStack) -> int:
    """HTTP requests that Elasticsearch has answered on any route."""
    nodes = stack.es.nodes.stats(metric="http")["nodes"].values()
    return sum(route["requests"]["count"] for node in nodes for route in node["http"].get("routes", {}).values())


def create(stack: BenchStack, first: int, end: int) -> None:
    """Create attached indices: Elasticsearch creates those of one bulk request together. It rejects the documents, so the indices
    are empty."""
    for start in range(first, end, CREATED_AT_ONCE):
        operations: list[dict[str, Any]] = []
        for number in range(start, min(end, start + CREATED_AT_ONCE)):
            operations += [{"index": {"_index": f"many-{number}"}}, {"body": {"no": "text"}}]
        reasons = {item["index"]["error"]["type"] for item in stack.es.bulk(operations=operations)["items"]}
        assert reasons == {"document_parsing_exception"}, reasons


def settle(stack: BenchStack, index: str, feed: psutil.Process) -> None:
    """Wait until the newest index is followed and nothing is left to do, and until the feed is at rest."""
    stack.es.index(index=index, id="a", document={"body": "the last of many"})
    stack.wait(index)
    while True:
        before = cpu_seconds([feed])
        time.sleep(4)
        if cpu_seconds([feed]) - before < 0.4:
            break
    time.sleep(REST_SECONDS)


def lags(stack: BenchStack, numbers: Sequence[int]) -> list[float]:
    """Seconds from a write into each of these quiet indices until its vector is there."""
    found = []
    for number in numbers:
        index, began = f"many-{number}", time.monotonic()
        stack.es.index(index=index, id="b", document={"body": f"written at {began}"})
        while "esblend" not in stack.es.get(index=index, id="b", source_includes="esblend")["_source"]:
            time.sleep(0.02)
        found.append(round(time.monotonic() - began, 1))
    return found


def watched(stack: BenchStack, count: int, busy: int, feed: psutil.Process | None) -> dict[str, Any]:
    """One row: the mean over `WATCH_SECONDS`, in which `busy` indices are written once a second."""
    feeds = [] if feed is None else [feed]
    elasticsearch = stack.processes("elasticsearch")
    feed_before, elasticsearch_before, requests_before = cpu_seconds(feeds), cpu_seconds(elasticsearch), requests(stack)
    began, writes = time.monotonic(), 0
    while time.monotonic() - began < WATCH_SECONDS:
        for number in range(busy):
            stack.es.index(index=f"many-{number}", id="busy", document={"body": f"write {writes} of {number}"})
            writes += 1
        time.sleep(1)
    seconds = time.monotonic() - began
    return {
        "attached indices": count,
        "busy": busy,
        "feed": "no" if feed is None else "yes",
        "feed CPU %": "" if feed is None else round(100 * (cpu_seconds(feeds) - feed_before) / seconds, 1),
        "Elasticsearch CPU %": round(100 * (cpu_seconds(elasticsearch) - elasticsearch_before) / seconds, 1),
        # Without the request for this figure itself.
        "requests/s": round(max(0, requests(stack) - requests_before - writes - 1) / seconds, 1),
        "feed memory MB": "" if feed is None else round(feed.memory_info().rss / 2**20),
    }


def measure(stack: BenchStack, count: int) -> list[dict[str, Any]]:
    """The rows of one number of indices: at rest and with busy ones, with a feed and without."""
    rows = []
    loads = [0, BUSY] if count > BUSY + LAGS else [0]
    with stack.process("esblend", "feed") as feed:
        settle(stack, f"many-{count - 1}", feed)
        for busy in loads:
            row = watched(stack, count, busy, feed)
            # Each time other indices, without a write since their creation.
            first = BUSY if busy else BUSY + LAGS
            seconds = lags(stack, range(first, first + LAGS) if len(loads) > 1 else [0])
            rows.append(row | {"lag s, first": seconds[0], "lag s, median": statistics.median(seconds)})
    return rows + [watched(stack, count, busy, None) | {"lag s, first": "", "lag s, median": ""} for busy in loads]


def main() -> None:
    os.environ["ES_JAVA_OPTS"] = HEAP
    rows: list[dict[str, Any]] = []
    with bench_stack() as stack:
        stack.es.cluster.put_settings(persistent={"cluster.max_shards_per_node": max(COUNTS) + 1000})
        stack.es.indices.create(index="many-0", **INDEX_BODY)
        stack.attach("many-0", "body")
        stack.stop("feed")
        mappings = stack.es.indices.get_mapping(index="many-0")["many-0"]["mappings"]
        template = {"settings": INDEX_BODY["settings"], "mappings": mappings}
        stack.es.indices.put_index_template(name="many", index_patterns=["many-*"], template=template)
        present = 1
        for count in COUNTS:
            create(stack, present, count)
            present = count
            rows += measure(stack, count)
            write_rows(rows)


def write_rows(rows: list[dict[str, Any]]) -> None:
    note = (
        f"Percent of one core over {WATCH_SECONDS} s, in which the busy indices are written once a second; one shard each, one "
        "node. Without a feed nothing is embedded. The lag is that of a write into another index, until its vector is there: of "
        f"the first such write after {REST_SECONDS} s at rest (or beside the busy indices), and of the first {LAGS}. "
        "Printed by `python -m bench idle`."
    )
    write("idle", "Attached indices without writes", note, rows)
