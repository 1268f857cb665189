"""The guard's cost for writers: bulk throughput with and without it, interleaved."""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from elasticsearch.helpers import bulk

from bench.pipeline import fresh_index, texts
from bench.report import write
from bench.stack import bench_stack

DOCUMENTS = 1000
ROUNDS = 5
INDICES = ("plain", "guarded")


def full_writes(index: str, bodies: list[str], turn: int) -> Iterator[dict[str, Any]]:
    for number, body in enumerate(bodies):
        yield {"_index": index, "_id": f"{turn}-{number}", "body": body}


def updates(index: str, field: str, turn: int) -> Iterator[dict[str, Any]]:
    for number in range(DOCUMENTS):
        yield {
            "_op_type": "update",
            "_index": index,
            "_id": str(number),
            "doc": {field: f"turn {turn} of number {number}"},
        }


def main() -> None:
    bodies = texts(DOCUMENTS)
    rows = []
    with bench_stack() as stack:
        for index in INDICES:
            fresh_index(stack, index, bodies)
            stack.attach(index, "body", guard=index == "guarded")
            stack.wait(index)
        stack.stop("feed")
        stack.stop("worker")
        kinds: dict[str, Callable[[str, int], Iterator[dict[str, Any]]]] = {
            "full writes": lambda index, turn: full_writes(index, bodies, turn),
            "partial updates of another field": lambda index, turn: updates(index, "other", turn),
            "partial updates of the text": lambda index, turn: updates(index, "body", turn),
        }
        for what, make in kinds.items():
            seconds: dict[str, list[float]] = {index: [] for index in INDICES}
            for turn in range(ROUNDS):
                for index in INDICES:
                    began = time.monotonic()
                    bulk(stack.es, make(index, turn), chunk_size=500)
                    seconds[index].append(time.monotonic() - began)
            plain, guarded = (statistics.median(seconds[index]) for index in INDICES)
            rows.append({
                "writes": what, "plain documents/s": round(DOCUMENTS / plain), "guarded documents/s": round(DOCUMENTS / guarded),
                "ratio": round(plain / guarded, 2),
            })  # fmt: skip
    note = (
        f"{DOCUMENTS} documents of 20 to 200 words a round, {ROUNDS} interleaved rounds, medians; no feed or worker runs. "
        "Printed by `python -m bench guard`."
    )
    write("guard", "Cost of the guard for writers", note, rows)
