"""Three Elasticsearch nodes, replicas, random writers, and a kill every few seconds; afterwards every vector is checked."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch
from redis import Redis

from bench.report import write
from bench.stack import BenchStack, bench_stack

SECONDS = 120
KILL_EVERY = 8
WRITERS = 4
IDS = 400
SEED = 11


def writer(url: str, seed: int, stop: threading.Event, counts: dict[str, int]) -> None:
    chance = random.Random(seed)
    with Elasticsearch(url, request_timeout=10) as es:
        turn = 0
        while not stop.wait(0.01):
            turn += 1
            id_ = str(chance.randrange(IDS))
            text = f"Writer {seed} in turn {turn} on {id_} " + "with more words " * chance.randrange(12)
            try:
                match chance.randrange(5):
                    case 0 | 1:
                        es.index(index="chaos", id=id_, document={"body": text})
                    case 2:
                        es.update(index="chaos", id=id_, doc={"body": text})
                    case 3:
                        es.update(index="chaos", id=id_, script={"source": "ctx._source.body += ' and on'"})
                    case 4:
                        es.delete(index="chaos", id=id_)
                counts["writes"] += 1
            except (ApiError, TransportError):
                counts["refused"] += 1


def kill_one(stack: BenchStack, chance: random.Random) -> str:
    """Kill a part of the stack and return its name. Never the first node, to which writers and processes connect."""
    esblend = [sys.executable, "-m", "esblend"]
    common = ["--data-dir", str(stack.place)]
    victim = chance.choice(["feed", "worker", "child", "gateway", "flush", "redis", "node"])
    if victim == "flush":
        with contextlib.suppress(Exception), Redis.from_url(stack.described["redis"]) as redis:
            redis.flushall()
        return victim
    shown = subprocess.run([*esblend, "ps", "--json", *common], capture_output=True, text=True, check=False)
    pids: dict[str, list[int]] = json.loads(shown.stdout)["pids"]
    chosen = {"child": pids["worker"][-1:], "node": pids["elasticsearch"][-2:]}.get(victim) or pids[victim]
    for pid in reversed(chosen):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    time.sleep(1)
    subprocess.run([*esblend, "up", "--json", *common], capture_output=True, check=False)
    return victim


def main() -> None:
    chance = random.Random(SEED)
    killed: dict[str, int] = {}
    counts = {"writes": 0, "refused": 0}
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
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            time.sleep(KILL_EVERY)
            victim = kill_one(stack, chance)
            killed[victim] = killed.get(victim, 0) + 1
        stop.set()
        for thread in threads:
            thread.join()
        began = time.monotonic()
        stack.es.indices.refresh(index="chaos")
        covered = stack.wait("chaos", seconds=300) - began
        command = [sys.executable, "-m", "esblend", "verify", "chaos", "--sample", "1000", "--json"]
        verified = subprocess.run(
            [*command, "--data-dir", str(stack.place)], capture_output=True, text=True, check=False
        )
        report: dict[str, Any] = json.loads(verified.stdout)
    rows = [{
        "seconds": SECONDS, "writes": counts["writes"], "refused": counts["refused"],
        "killed": ", ".join(f"{count} {name}" for name, count in sorted(killed.items())),
        "documents": report["documents"], "vectors compared": report["recomputed"], "at fault": sum(report["faults"].values()),
        "dead letters": report["dead_letters"], "covered after s": round(covered, 1),
    }]  # fmt: skip
    note = (
        f"Three nodes, three shards with a replica each, {WRITERS} random writers; every {KILL_EVERY} s a part is killed (SIGKILL) "
        "(or Redis emptied) and started again. Then each document's vector is computed again and compared. Printed by "
        "`python -m bench chaos`."
    )
    write("chaos", "Nothing lost, nothing stale", note, rows)
    if not report["clean"]:
        sys.exit(json.dumps(report["examples"]))
