"""The cost of a thousand idle attached indices: CPU of the feed and of Elasticsearch."""

import time
from typing import Any

import psutil

from bench.pipeline import INDEX_BODY
from bench.report import write
from bench.stack import BenchStack, bench_stack

INDICES = 1000
WATCH_SECONDS = 30


def cpu_share(processes: list[psutil.Process]) -> float:
    """CPU of the processes over `WATCH_SECONDS`, in percent of one core."""
    before = sum(sum(one.cpu_times()[:2]) for one in processes)
    began = time.monotonic()
    time.sleep(WATCH_SECONDS)
    return 100 * (sum(sum(one.cpu_times()[:2]) for one in processes) - before) / (time.monotonic() - began)


def settle(stack: BenchStack, index: str) -> None:
    """Wait until the newest index is followed and Elasticsearch is idle."""
    stack.es.index(index=index, id="a", document={"body": "the last of many"})
    stack.wait(index)
    time.sleep(20)


def main() -> None:
    rows: list[dict[str, Any]] = []
    with bench_stack() as stack:
        stack.es.cluster.put_settings(persistent={"cluster.max_shards_per_node": 5000})
        stack.es.indices.create(index="many-0", **INDEX_BODY)
        stack.attach("many-0", "body")
        mapping = stack.es.indices.get_mapping(index="many-0")["many-0"]["mappings"]
        for count in (1, INDICES):
            for number in range(1, count):
                stack.es.indices.create(index=f"many-{number}", settings=INDEX_BODY["settings"], mappings=mapping)
            settle(stack, f"many-{count - 1}")
            rows.append({
                "attached indices": count,
                "feed CPU %": round(cpu_share(stack.processes("feed")), 1),
                "Elasticsearch CPU %": round(cpu_share(stack.processes("elasticsearch")), 1),
                "feed memory MB": round(sum(one.memory_info().rss for one in stack.processes("feed")) / 2**20),
            })  # fmt: skip
        stack.stop("feed")
        time.sleep(5)
        rows.append({
            "attached indices": f"{INDICES}, no feed", "feed CPU %": "",
            "Elasticsearch CPU %": round(cpu_share(stack.processes("elasticsearch")), 1), "feed memory MB": "",
        })  # fmt: skip
    note = (
        f"Percent of one core over {WATCH_SECONDS} s without writes; indices with one shard each on one node; the feed polls "
        "twice a second. Printed by `python -m bench idle`."
    )
    write("idle", "Idle attached indices", note, rows)
