"""Three Elasticsearch nodes, replicas, random writers, and kills of every part; afterwards every vector is recomputed.

`CHAOS_SECONDS` sets the duration (ten minutes).
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch
from redis import Redis

from bench.report import write
from bench.stack import BenchStack, bench_stack
from bench.surgery_check import check

SECONDS = 600
KILL_EVERY = 8
WRITERS = 4
IDS = 6000
BULK = 25
SEED = 11
VICTIMS = ["feed", "worker", "child", "gateway", "flush", "redis", "node"]


def writer(url: str, seed: int, stop: threading.Event, counts: Counter[str]) -> None:
    """Writes until stopped: single requests, and requests of several operations."""
    chance = random.Random(seed)
    with Elasticsearch(url, request_timeout=10, max_retries=0) as es:
        turn = 0
        while not stop.wait(0.02):
            turn += 1
            try:
                if chance.randrange(4):
                    write_one(es, chance, f"Writer {seed} in turn {turn}")
                    counts["writes"] += 1
                else:
                    operations = [
                        line for _ in range(BULK) for line in operation(chance, f"Writer {seed} in turn {turn}")
                    ]
                    items = es.bulk(index="chaos", operations=operations)["items"]
                    accepted = sum(result["status"] < 300 for item in items for result in item.values())
                    counts["writes"] += accepted
                    counts["refused"] += len(items) - accepted
            except (ApiError, TransportError):
                counts["refused"] += 1


def new_text(chance: random.Random, who: str, id_: str) -> str:
    return f"{who} on {id_} " + "with more words " * chance.randrange(12)


def write_one(es: Elasticsearch, chance: random.Random, who: str) -> None:
    id_ = str(chance.randrange(IDS))
    match chance.randrange(6):
        case 0 | 1:
            es.index(index="chaos", id=id_, document={"body": new_text(chance, who, id_)})
        case 2 | 3:
            es.update(index="chaos", id=id_, doc={"body": new_text(chance, who, id_)})
        case 4:
            es.update(index="chaos", id=id_, script={"source": "ctx._source.body += ' and on'"})
        case 5:
            es.delete(index="chaos", id=id_)


def operation(chance: random.Random, who: str) -> Iterator[dict[str, Any]]:
    """The lines of one operation of a `_bulk`."""
    id_ = str(chance.randrange(IDS))
    text = new_text(chance, who, id_)
    match chance.randrange(6):
        case 0 | 1 | 2:
            yield from ({"index": {"_id": id_}}, {"body": text})
        case 3 | 4:
            yield from ({"update": {"_id": id_}}, {"doc": {"body": text}, "doc_as_upsert": True})
        case 5:
            yield {"delete": {"_id": id_}}


def kill_one(stack: BenchStack, victim: str) -> None:
    """Kill a part of the stack and start it again. Never the first node, to which writers and processes connect."""
    esblend = [sys.executable, "-m", "esblend"]
    common = ["--data-dir", str(stack.place)]
    if victim == "flush":
        with contextlib.suppress(Exception), Redis.from_url(stack.described["redis"]) as redis:
            redis.flushall()
        return
    shown = subprocess.run([*esblend, "ps", "--json", *common], capture_output=True, text=True, check=False)
    pids: dict[str, list[int]] = json.loads(shown.stdout)["pids"]
    chosen = {"child": pids["worker"][-1:], "node": pids["elasticsearch"][-2:]}.get(victim) or pids[victim]
    for pid in reversed(chosen):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    time.sleep(1)
    subprocess.run([*esblend, "up", "--json", *common], capture_output=True, check=False)


def main() -> None:
    seconds = float(os.environ.get("CHAOS_SECONDS", SECONDS))
    chance = random.Random(SEED)
    killed: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    with bench_stack("--nodes", "3") as stack:
        stack.es.indices.create(
            index="chaos",
            settings={"number_of_shards": 3, "number_of_replicas": 1},
            mappings={"properties": {"body": {"type": "text"}}},
        )
        stack.attach("chaos", "body")
        stop = threading.Event()
        url = stack.described["elasticsearch"]
        threads = [threading.Thread(target=writer, args=(url, seed, stop, counts)) for seed in range(WRITERS)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + seconds
        victims: list[str] = []
        while time.monotonic() < end:
            time.sleep(KILL_EVERY)
            victims = victims or chance.sample(VICTIMS, len(VICTIMS))  # each part in turn, in random order
            victim = victims.pop()
            kill_one(stack, victim)
            killed[victim] += 1
        stop.set()
        for thread in threads:
            thread.join()
        began = time.monotonic()
        stack.es.indices.refresh(index="chaos")
        covered = stack.wait("chaos", seconds=300) - began
        command = [sys.executable, "-m", "esblend", "verify", "chaos", "--json", "--data-dir", str(stack.place)]
        verified = subprocess.run(command, capture_output=True, text=True, check=False)
        report: dict[str, Any] = json.loads(verified.stdout)
        faults = check(stack.es, "chaos", counts)
    rows = [{
        "seconds": round(seconds), "writes": counts["writes"], "refused": counts["refused"],
        "killed": ", ".join(f"{count} {name}" for name, count in sorted(killed.items())),
        "documents": counts["documents checked"], "vectors compared": counts["vectors compared"],
        "faults": len(faults) + sum(report["faults"].values()), "dead letters": report["dead_letters"],
        "covered after s": round(covered, 1),
    }]  # fmt: skip
    note = (
        f"Three nodes, three shards with a replica each, {WRITERS} random writers; {KILL_EVERY} s after each restart the next part "
        "is killed (SIGKILL) (or Redis emptied) and started again. Then `esblend verify` reads all documents, and "
        "sentence-transformers recomputes every vector. Printed by `python -m bench chaos`."
    )
    write("chaos", "Nothing lost, nothing stale", note, rows)
    if faults or not report["clean"]:
        sys.exit("\n".join([*faults[:50], json.dumps(report["examples"])]))
