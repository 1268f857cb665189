"""Three feeds share indices: one is killed, one is added, one is paused for 20 s. Who follows how much, and what does it cost?"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import psutil
from elasticsearch import Elasticsearch

from bench.pipeline import INDEX_BODY
from bench.report import write
from bench.stack import BenchStack, bench_stack
from mappings.attachment_copies import CHECKPOINTS_INDEX

INDICES = 30
PHASE_SECONDS = 25
PAUSE_SECONDS = 20
WRITES_PER_SECOND = 10


@dataclass
class Watch:
    """Looks at the checkpoints once a second: the owner of each index, and for how long its changes have been pending."""

    es: Elasticsearch
    feeds: int = 0
    """The number of live processes."""
    is_over: threading.Event = field(default_factory=threading.Event)
    samples: list[tuple[float, float, int, float]] = field(default_factory=list)
    """Time, the largest share relative to the mean, indices without an owner, and the largest lag in seconds."""

    def run(self) -> None:
        while not self.is_over.wait(1.0):
            self.es.indices.refresh(index=CHECKPOINTS_INDEX)
            query = {"exists": {"field": "generation"}}
            hits = self.es.search(index=CHECKPOINTS_INDEX, query=query, size=1000)["hits"]["hits"]
            stored = [hit["_source"] for hit in hits]
            owners = Counter(one["owner"] for one in stored if one.get("owner"))
            share = max(owners.values(), default=0) * self.feeds / len(stored)
            since = [one["pending_since"] for one in stored if one.get("pending_since")]
            lag = max((time.time() - moment for moment in since), default=0.0)
            self.samples.append((time.monotonic(), share, len(stored) - owners.total(), lag))

    def row(self, phase: str, began: float) -> dict[str, Any]:
        """The samples of a phase. The division is even once nobody follows more than 1.3 times the mean, until the phase's end."""
        samples = [sample for sample in self.samples if sample[0] >= began]
        uneven = [moment for moment, share, ownerless, _ in samples if share > 1.3 or ownerless]
        return {
            "phase": phase,
            "live feeds": self.feeds,
            "even after s": round(max(uneven, default=began) - began, 1),
            "largest share / mean at the end": round(samples[-1][1], 2),
            "largest lag s": round(max(lag for *_, lag in samples), 1),
        }


def write_steadily(es: Elasticsearch, names: list[str], is_over: threading.Event, written: Counter[str]) -> None:
    number = 0
    while not is_over.wait(1 / WRITES_PER_SECOND):
        name = names[number % len(names)]
        es.index(index=name, id=str(number), document={"body": f"change {number} of a steady stream of short texts"})
        written[name] += 1
        number += 1


def main() -> None:
    rows: list[dict[str, Any]] = []
    with bench_stack() as stack, ExitStack() as feeds:
        names = attach_many(stack)
        stack.stop("feed")

        def start() -> psutil.Process:
            return feeds.enter_context(stack.process("esblend", "feed"))

        watch, written = Watch(stack.es), Counter[str]()
        first, second, third = start(), start(), start()
        threads = [
            threading.Thread(target=watch.run),
            threading.Thread(target=write_steadily, args=(stack.es, names, watch.is_over, written)),
        ]
        for thread in threads:
            thread.start()

        def phase(name: str, live: int, act: Callable[[], Any] = lambda: None, seconds: float = PHASE_SECONDS) -> None:
            watch.feeds, began = live, time.monotonic()
            act()
            time.sleep(seconds)
            rows.append(watch.row(name, began))

        phase("three feeds start", 3)
        phase("one is killed", 2, first.kill)
        phase("one is added", 3, start)
        phase("one is paused", 2, second.suspend, PAUSE_SECONDS)
        phase("it continues", 3, second.resume)
        phase("one is stopped", 2, third.terminate)
        watch.is_over.set()
        for thread in threads:
            thread.join()
        rows.append(outcome(stack, names, written))
    note = (
        f"{INDICES} indices with one shard, {WRITES_PER_SECOND} writes a second, phases of {PHASE_SECONDS} s (the pause: "
        f"{PAUSE_SECONDS} s). The lag includes the time of encoding. Printed by `python -m bench feeds`."
    )
    write("feeds", "Feeds that come and go", note, rows)


def attach_many(stack: BenchStack) -> list[str]:
    names = [f"shared-{number}" for number in range(INDICES)]
    stack.es.indices.create(index=names[0], **INDEX_BODY)
    stack.attach(names[0], "body")
    mapping = stack.es.indices.get_mapping(index=names[0])[names[0]]["mappings"]
    for name in names[1:]:
        stack.es.indices.create(index=name, settings=INDEX_BODY["settings"], mappings=mapping)
    return names


def outcome(stack: BenchStack, names: list[str], written: Counter[str]) -> dict[str, Any]:
    """Wait for all vectors. A document that was written and embedded once has version 2."""
    missing = twice = 0
    for name in names:
        status = stack.call("GET", f"/_esblend/indices/{name}/status", wait_for_coverage="1.0", timeout="300s")
        hits = stack.es.search(index=name, size=10_000, version=True, source=False)["hits"]["hits"]
        missing += written[name] - status["embedded"]
        twice += sum(hit["_version"] > 2 for hit in hits)
    return {
        "phase": f"at the end: {written.total()} documents, {missing} without a vector, {twice} embedded twice",
        "live feeds": "",
        "even after s": "",
        "largest share / mean at the end": "",
        "largest lag s": "",
    }


if __name__ == "__main__":
    main()
