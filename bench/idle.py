"""The cost of attached indices without writes: CPU of feed and Elasticsearch, requests a second, lag of a write into one."""

import os
import time
from typing import Any

import psutil

from bench.pipeline import INDEX_BODY
from bench.report import write
from bench.stack import BenchStack, bench_stack

COUNTS = tuple(int(count) for count in os.environ.get("ESBLEND_BENCH_INDICES", "2,1000,4000").split(","))
"""An empty shard keeps three files open, and Elasticsearch needs about 0.4 MB of heap for it."""
HEAP = "-Xmx3g"
WATCH_SECONDS = 30
BUSY = 2
LAGS = 7
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


def settle(stack: BenchStack, index: str) -> float:
    """Wait until the newest index is followed and nothing is left to do. Returns the seconds until it was followed."""
    began = time.monotonic()
    stack.es.index(index=index, id="a", document={"body": "the last of many"})
    seconds = stack.wait(index) - began
    feed = stack.processes("feed")
    while True:
        before = cpu_seconds(feed)
        time.sleep(5)
        if cpu_seconds(feed) - before < 1:
            break
    time.sleep(15)
    return seconds


def lag(stack: BenchStack, index: str) -> float:
    """Seconds from a write into a quiet index until its vector is there."""
    began = time.monotonic()
    stack.es.index(index=index, id="b", document={"body": f"written at {began}"})
    while "esblend" not in stack.es.get(index=index, id="b", source_includes="esblend")["_source"]:
        time.sleep(0.02)
    return time.monotonic() - began


def watched(stack: BenchStack, count: int, *, has_feed: bool) -> dict[str, Any]:
    """One row: the mean over `WATCH_SECONDS`, in which two indices are written once a second."""
    feed = stack.processes("feed") if has_feed else []
    elasticsearch = stack.processes("elasticsearch")
    feed_before, elasticsearch_before, requests_before = cpu_seconds(feed), cpu_seconds(elasticsearch), requests(stack)
    began, writes = time.monotonic(), 0
    while time.monotonic() - began < WATCH_SECONDS:
        for number in range(BUSY):
            stack.es.index(index=f"many-{number}", id="busy", document={"body": f"write {writes} of {number}"})
            writes += 1
        time.sleep(1)
    seconds = time.monotonic() - began
    row: dict[str, Any] = {
        "attached indices": count,
        "feed": "yes" if has_feed else "no",
        "feed CPU %": round(100 * (cpu_seconds(feed) - feed_before) / seconds, 1) if has_feed else "",
        "Elasticsearch CPU %": round(100 * (cpu_seconds(elasticsearch) - elasticsearch_before) / seconds, 1),
        "requests/s": round((requests(stack) - requests_before - writes) / seconds, 1),
        "feed memory MB": round(sum(one.memory_info().rss for one in feed) / 2**20) if has_feed else "",
    }
    # Each time another index, without a write since its creation.
    quiet = [count - 1] * LAGS if count <= LAGS + BUSY else range(BUSY, BUSY + LAGS)
    lags = sorted(lag(stack, f"many-{number}") for number in quiet) if has_feed and count > BUSY else []
    shown = {"lag s, median": lags[len(lags) // 2], "lag s, largest": lags[-1]} if lags else {}
    return row | {name: round(shown[name], 1) if shown else "" for name in ("lag s, median", "lag s, largest")}


def main() -> None:
    os.environ["ES_JAVA_OPTS"] = HEAP
    rows: list[dict[str, Any]] = []
    with bench_stack() as stack:
        stack.es.cluster.put_settings(persistent={"cluster.max_shards_per_node": max(COUNTS) + 1000})
        stack.es.indices.create(index="many-0", **INDEX_BODY)
        stack.attach("many-0", "body")
        mappings = stack.es.indices.get_mapping(index="many-0")["many-0"]["mappings"]
        template = {"settings": INDEX_BODY["settings"], "mappings": mappings}
        stack.es.indices.put_index_template(name="many", index_patterns=["many-*"], template=template)
        present = 1
        for count in COUNTS:
            create(stack, present, count)
            present = count
            settle(stack, f"many-{count - 1}")
            rows.append(watched(stack, count, has_feed=True))
            write_rows(rows)
        stack.stop("feed")
        time.sleep(10)
        rows.append(watched(stack, present, has_feed=False))
    write_rows(rows)


def write_rows(rows: list[dict[str, Any]]) -> None:
    note = (
        f"Percent of one core over {WATCH_SECONDS} s, in which {BUSY} of the indices are written once a second; one shard each, "
        f"one node. The lag is that of a write into another index, until its vector is there. Printed by `python -m bench idle`."
    )
    write("idle", "Attached indices without writes", note, rows)
