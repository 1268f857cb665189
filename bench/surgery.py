"""Index surgery: random writers, index operations and kills; then an independent check recomputes every vector.

writers (read-modify-write, partial, bulk, by query, external versions)  \
operations (snapshot, restore, shrink, split, clone, rollover, close)     > esblend -> all documents -> sentence-transformers
kills of feed, worker and its child; Redis emptied                       /

`SURGERY_SECONDS` and `SURGERY_SEED` set the duration (an hour) and the seed. The seed decides the order of operations, not their
timing.
"""

import contextlib
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch
from redis import Redis

from bench.report import write
from bench.stack import bench_stack
from bench.surgery_check import check
from esblend.errors import LocalStackError
from esblend.local.stack import StackOptions, load_state, up
from esblend.settings import Settings

SECONDS = 3600
WRITERS = 3
IDS = 120
MAX_INDICES = 5
PAUSE_SECONDS = 1.0
COVERAGE_SECONDS = 600
EXTERNAL = "surgery-external"
REPOSITORY = "surgery"
_JSON = {"accept": "application/json", "content-type": "application/json"}


@dataclass
class Theatre:
    """The stack under surgery, and the names of its attached indices."""

    es: Elasticsearch
    gateway: Elasticsearch
    redis: str
    data_dir: Path
    chance: random.Random
    indices: list[str] = field(default_factory=list)
    snapshots: dict[str, str] = field(default_factory=dict)
    """Index by snapshot."""
    counts: Counter[str] = field(default_factory=Counter)
    number: int = 0

    def new_name(self, kind: str) -> str:
        self.number += 1
        return f"surgery-{kind}-{self.number}"

    def call(self, method: str, path: str, body: Any = None, **params: Any) -> dict[str, Any]:
        client = self.gateway.options(request_timeout=COVERAGE_SECONDS + 30)
        return dict(client.perform_request(method, path, params=params, headers=_JSON, body=body).body)


def run(theatre: Theatre, seconds: float) -> list[str]:
    """Operate for `seconds`, restore order, wait for full coverage. Returns the faults that the independent check finds."""
    theatre.es.snapshot.create_repository(
        name=REPOSITORY, repository={"type": "fs", "settings": {"location": "surgery"}}
    )
    make_index(theatre, "surgery-first", shards=8)
    make_index(theatre, "surgery-guarded", shards=2, guard=True)
    make_index(theatre, EXTERNAL, shards=2, versioning="external")
    stop = threading.Event()
    seeds = [theatre.chance.getrandbits(32) for _ in range(WRITERS)]
    threads = [threading.Thread(target=_writer, args=(theatre, seed, stop)) for seed in seeds]
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            _operate(theatre)
            stop.wait(PAUSE_SECONDS)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    _restore_order(theatre)
    return [fault for index in list(theatre.indices) for fault in _wait_and_check(theatre, index)]


def make_index(theatre: Theatre, name: str, *, shards: int, **attachment: Any) -> None:
    mappings = {"properties": {"body": {"type": "text"}, "title": {"type": "text"}}}
    settings = {"number_of_shards": shards, "number_of_replicas": 0}
    theatre.es.indices.create(index=name, mappings=mappings, settings=settings)
    theatre.call("PUT", f"/_esblend/indices/{name}", {"source_fields": ["body"], **attachment})
    theatre.indices.append(name)


def _operate(theatre: Theatre) -> None:
    operation = theatre.chance.choice(OPERATIONS)
    name = operation.__name__.strip("_")
    try:
        operation(theatre)
        theatre.counts[name] += 1
    except (ApiError, TransportError, LocalStackError) as error:
        theatre.counts[f"{name} rejected"] += 1
        if os.environ.get("SURGERY_VERBOSE"):
            print(name, str(error)[:300], file=sys.stderr)


def _target(theatre: Theatre) -> str:
    return theatre.chance.choice([index for index in theatre.indices if index != EXTERNAL])


def _snapshot(theatre: Theatre) -> None:
    index, name = theatre.chance.choice(theatre.indices), f"s{len(theatre.snapshots)}-{theatre.chance.getrandbits(24)}"
    theatre.es.snapshot.create(
        repository=REPOSITORY, snapshot=name, indices=index, include_global_state=False, wait_for_completion=True
    )
    theatre.snapshots[name] = index


def _restore(theatre: Theatre) -> None:
    possible = [name for name, index in theatre.snapshots.items() if index in theatre.indices]
    if not possible:
        return
    name = theatre.chance.choice(possible)
    index = theatre.snapshots[name]
    theatre.es.indices.close(index=index)
    try:
        theatre.es.snapshot.restore(
            repository=REPOSITORY, snapshot=name, indices=index, include_global_state=False, wait_for_completion=True
        )
    finally:
        with contextlib.suppress(ApiError):
            theatre.es.indices.open(index=index)


@contextlib.contextmanager
def _blocked(theatre: Theatre, index: str) -> Iterator[None]:
    theatre.es.indices.put_settings(index=index, settings={"index.blocks.write": True})
    try:
        yield
    finally:
        theatre.es.indices.put_settings(index=index, settings={"index.blocks.write": None})


def _resized(theatre: Theatre, kind: str, shards: Callable[[int], int]) -> None:
    """A resized copy of an index, attached by the mapping that it inherits; the original stays."""
    index, name = _target(theatre), theatre.new_name(kind)
    settings = theatre.es.indices.get_settings(index=index, flat_settings=True)[index]["settings"]
    wanted = shards(int(settings["index.number_of_shards"]))
    resize = {"shrink": theatre.es.indices.shrink, "split": theatre.es.indices.split, "clone": theatre.es.indices.clone}
    with _blocked(theatre, index):
        resize[kind](
            index=index,
            target=name,
            settings={
                "index.blocks.write": None, "index.number_of_shards": wanted, "index.number_of_replicas": 0,
            },
        )  # fmt: skip
    theatre.indices.append(name)
    while len(theatre.indices) > MAX_INDICES:
        oldest = next(other for other in theatre.indices if other not in ("surgery-first", EXTERNAL, name))
        theatre.es.indices.delete(index=oldest)
        theatre.indices.remove(oldest)


def _shrink(theatre: Theatre) -> None:
    _resized(theatre, "shrink", lambda shards: 1)


def _split(theatre: Theatre) -> None:
    _resized(theatre, "split", lambda shards: shards * 2 if shards < 16 else shards)


def _clone(theatre: Theatre) -> None:
    _resized(theatre, "clone", lambda shards: shards)


def _rollover(theatre: Theatre) -> None:
    """An alias rolls over to a new index, which is then attached."""
    alias = theatre.new_name("alias")
    make_index(theatre, f"{alias}-000001", shards=1)
    theatre.es.indices.put_alias(index=f"{alias}-000001", name=alias, is_write_index=True)
    mappings = {"properties": {"body": {"type": "text"}, "title": {"type": "text"}}}
    theatre.es.indices.rollover(alias=alias, mappings=mappings, settings={"number_of_replicas": 0})
    theatre.call("PUT", f"/_esblend/indices/{alias}-000002", {"source_fields": ["body"]})
    theatre.indices.append(f"{alias}-000002")
    while len(theatre.indices) > MAX_INDICES:
        oldest = next(other for other in theatre.indices if other not in ("surgery-first", EXTERNAL))
        theatre.es.indices.delete(index=oldest)
        theatre.indices.remove(oldest)


def _close_and_open(theatre: Theatre) -> None:
    index = theatre.chance.choice(theatre.indices)
    theatre.es.indices.close(index=index)
    time.sleep(theatre.chance.random() * 2)
    theatre.es.indices.open(index=index)


def _change_mapping(theatre: Theatre) -> None:
    name = f"field_{theatre.chance.randrange(40)}"
    theatre.es.indices.put_mapping(index=_target(theatre), properties={name: {"type": "keyword"}})


def _change_settings(theatre: Theatre) -> None:
    choices: list[dict[str, Any]] = [
        {"index.refresh_interval": "30s"}, {"index.refresh_interval": None}, {"index.max_result_window": 50},
        {"index.max_result_window": None}, {"index.refresh_interval": "-1"},
    ]  # fmt: skip
    settings = theatre.chance.choice(choices)
    theatre.es.indices.put_settings(index=theatre.chance.choice(theatre.indices), settings=settings)


def _block(theatre: Theatre) -> None:
    block = theatre.chance.choice(["index.blocks.write", "index.blocks.read_only_allow_delete"])
    index = theatre.chance.choice(theatre.indices)
    theatre.es.indices.put_settings(index=index, settings={block: True})
    time.sleep(theatre.chance.random() * 3)
    theatre.es.indices.put_settings(index=index, settings={block: None})


def _flush_redis(theatre: Theatre) -> None:
    with Redis.from_url(theatre.redis) as redis:
        redis.flushall()


def _kill(theatre: Theatre) -> None:
    victim = theatre.chance.choice(["feed", "worker", "child"])
    state = load_state(theatre.data_dir)
    assert state is not None
    pids: dict[str, list[int]] = state.describe()["pids"]
    chosen = pids["worker"][-1:] if victim == "child" else pids[victim]
    for pid in reversed(chosen):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _start_dead_processes(theatre)


def _start_dead_processes(theatre: Theatre) -> None:
    up(theatre.data_dir, StackOptions(), Settings(), say=lambda line: None)


OPERATIONS: list[Callable[[Theatre], None]] = [
    _snapshot, _restore, _shrink, _split, _clone, _rollover, _close_and_open, _change_mapping, _change_settings, _block,
    _flush_redis, _kill,
]  # fmt: skip


def _writer(theatre: Theatre, seed: int, stop: threading.Event) -> None:
    chance = random.Random(seed)
    versions: Counter[str] = Counter()
    while not stop.wait(0.01):
        index = chance.choice(theatre.indices)
        try:
            _write(theatre, index, chance, versions, seed)
            theatre.counts["writes"] += 1
        except (ApiError, TransportError):
            theatre.counts["writes rejected"] += 1


def _text(chance: random.Random, id_: str) -> str:
    words = " ".join(chance.choice(_WORDS) for _ in range(chance.choice([3, 8, 20, 20, 400])))
    return f"About {id_}: {words}."


_WORDS = (
    "whales",
    "sing",
    "deep",
    "sea",
    "night",
    "ships",
    "sail",
    "north",
    "wind",
    "stars",
    "wings",
    "lift",
    "drag",
    "rust",
)


def _write(theatre: Theatre, index: str, chance: random.Random, versions: Counter[str], seed: int) -> None:
    es, gateway = (client.options(request_timeout=10, max_retries=0) for client in (theatre.es, theatre.gateway))
    id_ = str(chance.randrange(IDS))
    document = {"body": _text(chance, id_), "title": str(chance.random())}
    if index == EXTERNAL:
        id_ = f"{seed}-{id_}"
        versions[id_] += 1 + chance.randrange(3)
        es.index(index=index, id=id_, document=document, version=versions[id_], version_type="external")
        return
    match chance.randrange(9):
        case 0 | 1:
            es.index(index=index, id=id_, document=document)
        case 2:
            es.update(index=index, id=id_, doc=chance.choice([document, {"title": document["title"]}]))
        case 3:
            es.update(index=index, id=id_, script={"source": "ctx._source.body += ' and on'"})
        case 4:  # read-modify-write, as clients do it
            source = es.get(index=index, id=id_)["_source"]
            es.index(index=index, id=id_, document={**source, "title": document["title"]})
        case 5:
            source = es.get(index=index, id=id_)["_source"]
            es.update(index=index, id=id_, doc={**source, "title": document["title"]})
        case 6:
            lines: list[Any] = []
            for hit in es.search(index=index, size=10)["hits"]["hits"]:
                lines += [{"index": {"_id": hit["_id"]}}, hit["_source"]]
                lines += [{"update": {"_id": str(chance.randrange(IDS))}}, {"doc": {"body": _text(chance, id_)}}]
            if lines:  # the gateway rewrites updates of guarded indices
                chance.choice([es, gateway]).bulk(index=index, operations=lines)
        case 7:
            query = {"ids": {"values": [str(chance.randrange(IDS)) for _ in range(5)]}}
            script = {"source": "ctx._source.title = params.t", "params": {"t": document["title"]}}
            es.update_by_query(index=index, query=query, script=script, conflicts="proceed")
        case 8:
            es.delete(index=index, id=id_)


def _restore_order(theatre: Theatre) -> None:
    _start_dead_processes(theatre)
    settings = {
        "index.blocks.write": None, "index.blocks.read_only_allow_delete": None, "index.refresh_interval": None,
        "index.max_result_window": None,
    }  # fmt: skip
    for index in theatre.indices:
        with contextlib.suppress(ApiError):
            theatre.es.indices.open(index=index)
        theatre.es.indices.put_settings(index=index, settings=settings)
        theatre.es.indices.refresh(index=index)


def _wait_and_check(theatre: Theatre, index: str) -> list[str]:
    try:
        theatre.call(
            "GET", f"/_esblend/indices/{index}/status", wait_for_coverage="1.0", timeout=f"{COVERAGE_SECONDS}s"
        )
    except ApiError as error:
        return [f"{index}: not covered: {error.body}", *check(theatre.es, index, theatre.counts)]
    return check(theatre.es, index, theatre.counts)


def main() -> None:
    seconds = float(os.environ.get("SURGERY_SECONDS", SECONDS))
    seed = int(os.environ.get("SURGERY_SEED", random.SystemRandom().randrange(2**32)))
    print(f"seed {seed}")
    with bench_stack() as stack:
        theatre = Theatre(stack.es, stack.gateway, stack.described["redis"], stack.place, random.Random(seed))
        faults = run(theatre, seconds)
    counts = theatre.counts
    operations = {name: count for name, count in sorted(counts.items()) if name in _NAMES}
    rejected = sum(count for name, count in counts.items() if name.endswith(" rejected") and name != "writes rejected")
    rows = [{
        "seconds": round(seconds), "seed": seed, "writes": counts["writes"], "writes rejected": counts["writes rejected"],
        "operations": ", ".join(f"{count} {name}" for name, count in operations.items()), "operations rejected": rejected,
        "documents": counts["documents checked"], "vectors compared": counts["vectors compared"], "faults": len(faults),
    }]  # fmt: skip
    note = (
        f"{WRITERS} random writers and one index operation after another on one node; then sentence-transformers recomputes every "
        "vector. Printed by `python -m bench surgery`."
    )
    write("surgery", "Index surgery", note, rows)
    if faults:
        sys.exit("\n".join(faults[:50]))


_NAMES = {operation.__name__.strip("_") for operation in OPERATIONS}
