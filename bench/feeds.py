"""Three feeds share indices: one is killed, one is added, one is paused for 20 s. Who follows how much, and what does it cost?"""

import statistics
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
from esblend.local.ports import FreePorts
from mappings.attachment import Attachment
from mappings.attachment_copies import CHECKPOINTS_INDEX
from mappings.coverage import is_processed

INDICES = 30
MANY = 160
LEASE_SECONDS = 60
PHASE_SECONDS = 25
PAUSE_SECONDS = 20
WRITES_PER_SECOND = 5
MAPPINGS = {"properties": {"body": {"type": "text"}, "at": {"type": "double"}}}


@dataclass
class Watch:
    """Looks once a second at the owner of each index, and at the oldest document without a vector."""

    es: Elasticsearch
    attachment: Attachment
    feeds: int = 0
    """The number of live processes."""
    is_over: threading.Event = field(default_factory=threading.Event)
    samples: list[tuple[float, float, bool, float]] = field(default_factory=list)
    """Time, the largest share relative to the mean, whether only live processes follow and all indices, and the lag in seconds."""

    def run(self) -> None:
        while not self.is_over.wait(1.0):
            self.es.indices.refresh(index=CHECKPOINTS_INDEX)
            query = {"exists": {"field": "generation"}}
            hits = self.es.search(index=CHECKPOINTS_INDEX, query=query, size=1000)["hits"]["hits"]
            stored = [hit["_source"] for hit in hits]
            owners = Counter(one["owner"] for one in stored if one.get("owner"))
            share = max(owners.values(), default=0) * self.feeds / len(stored)
            is_whole = owners.total() == len(stored) and len(owners) == self.feeds
            self.samples.append((time.monotonic(), share, is_whole, self._lag()))

    def _lag(self) -> float:
        """The age of the oldest document without a vector."""
        self.es.indices.refresh(index="shared-*")
        oldest = {"oldest": {"min": {"field": "at"}}}
        query = {"bool": {"must_not": [is_processed(self.attachment)]}}
        found = self.es.search(index="shared-*", query=query, size=0, aggregations=oldest)["aggregations"]["oldest"]
        return 0.0 if found["value"] is None else max(0.0, time.time() - found["value"])

    def row(self, phase: str, began: float) -> dict[str, Any]:
        """The samples of a phase. The division is even once nobody follows more than 1.3 times the mean, until the phase's end."""
        samples = [sample for sample in self.samples if sample[0] >= began]
        uneven = [moment for moment, share, is_whole, _ in samples if share > 1.3 or not is_whole]
        return {
            "phase": phase,
            "live feeds": self.feeds,
            "even after s": round(max(uneven, default=began) - began, 1),
            "largest share / mean at the end": round(samples[-1][1], 2),
            "lag s, median": round(statistics.median(lag for *_, lag in samples), 1),
            "lag s, largest": round(max(lag for *_, lag in samples), 1),
        }


def write_steadily(es: Elasticsearch, names: list[str], is_over: threading.Event, written: Counter[str]) -> None:
    number = 0
    while not is_over.wait(1 / WRITES_PER_SECOND):
        name = names[number % len(names)]
        text = f"change {number} of a steady stream of short texts"
        es.index(index=name, id=str(number), document={"body": text, "at": time.time()})
        written[name] += 1
        number += 1


def main() -> None:
    rows: list[dict[str, Any]] = []
    with bench_stack() as stack, ExitStack() as feeds:
        names = attach_many(stack, INDICES)
        stack.stop("feed")

        def start() -> psutil.Process:
            return feeds.enter_context(stack.process("esblend", "feed"))

        mapping = stack.es.indices.get_mapping(index=names[0])[names[0]]["mappings"]
        watch, written = Watch(stack.es, Attachment.model_validate(mapping["_meta"]["esblend"])), Counter[str]()
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
        f"{PAUSE_SECONDS} s). The lag is the age of the oldest document without a vector. Printed by `python -m bench feeds`."
    )
    write("feeds", "Feeds that come and go", note, rows)


def main_leases() -> None:
    """Two feeds with metrics and many indices: leases must stay where they are while every index changes."""
    moves = 0
    with bench_stack() as stack, ExitStack() as feeds, FreePorts() as ports:
        names = attach_many(stack, MANY)
        stack.stop("feed")
        for _ in range(2):
            feeds.enter_context(stack.process("esblend", "feed", ESBLEND_METRICS_PORT=str(ports.choose(0))))
        before = owners_of(stack.es)
        while len(before) < MANY or len(set(before.values())) < 2:
            time.sleep(1.0)
            before = owners_of(stack.es)
        mapping = stack.es.indices.get_mapping(index=names[0])[names[0]]["mappings"]
        watch, written = Watch(stack.es, Attachment.model_validate(mapping["_meta"]["esblend"]), 2), Counter[str]()
        threads = [
            threading.Thread(target=watch.run),
            threading.Thread(target=write_steadily, args=(stack.es, names, watch.is_over, written)),
        ]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        while time.monotonic() - began < LEASE_SECONDS:
            time.sleep(1.0)
            present = owners_of(stack.es)
            moves += sum(present.get(index) != owner for index, owner in before.items())
            before = present
        rows = [{**watch.row(f"{MANY} indices, metrics on", began), "changes of owner": moves}]
        watch.is_over.set()
        for thread in threads:
            thread.join()
        rows.append({**outcome(stack, names, written), "changes of owner": ""})
    note = (
        f"Two feeds, {MANY} indices with one shard, {WRITES_PER_SECOND} writes a second for {LEASE_SECONDS} s. "
        "Printed by `python -m bench leases`."
    )
    write("leases", "Many indices with metrics", note, rows)


def owners_of(es: Elasticsearch) -> dict[str, str]:
    """The feed that follows each index."""
    es.indices.refresh(index=CHECKPOINTS_INDEX)
    hits = es.search(index=CHECKPOINTS_INDEX, query={"exists": {"field": "generation"}}, size=1000)["hits"]["hits"]
    return {hit["_source"]["index"]: hit["_source"]["owner"] for hit in hits if hit["_source"].get("owner")}


def attach_many(stack: BenchStack, count: int) -> list[str]:
    names = [f"shared-{number}" for number in range(count)]
    stack.es.indices.create(index=names[0], settings=INDEX_BODY["settings"], mappings=MAPPINGS)
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
        "lag s, median": "",
        "lag s, largest": "",
    }


if __name__ == "__main__":
    main()
