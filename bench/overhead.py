"""The gateway's overhead: each kind of search through it, compared with the same work done directly.

The direct caller encodes the text with the encoder that the gateway uses, then sends both legs to Elasticsearch in one request.
The lexical leg counts its matches, as the gateway's does. The legs return ids and scores, and no page is fetched.
"""

import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, cycle
from typing import Any

import aiohttp
import psutil
from elasticsearch.helpers import bulk

from bench.report import write
from bench.stack import BenchStack, bench_stack, memory_megabytes
from esblend.encoder.encoder import Encoder, EncoderOptions, load_encoder
from tests.collections import Collection, find_collection, read_collection

INDEX = "overhead"
FIELDS = ["title", "text"]
WINDOW = 100
ROUNDS = 20
PER_ROUND = {16: 48, 1: 15}
"""Searches of each kind in a round, by the number of callers. The many searches of 16 callers come first: until then Elasticsearch
still compiles its own code, which takes as long as a search of one caller."""
DIRECT = "encoder + legs, direct"
THROUGHPUT_SECONDS = 5
LOAD_CALLERS, LOAD_SECONDS = 50, 60
Searches = Callable[[aiohttp.ClientSession, str], Awaitable[None]]
_NDJSON = {"content-type": "application/x-ndjson"}
_JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Target:
    direct: str
    gateway: str
    processes: dict[str, list[psutil.Process]]
    """Whose CPU time is counted."""


@dataclass
class Measured:
    """All calls of one kind."""

    took: list[float] = field(default_factory=list)
    """Milliseconds of each call."""
    cpu: dict[str, float] = field(default_factory=dict)
    """CPU seconds of all calls, by process."""


def prepare(stack: BenchStack, collection: Collection) -> None:
    """The documents with their vectors, in one shard and one segment."""
    english = {"type": "text", "analyzer": "english"}
    stack.es.indices.create(
        index=INDEX,
        mappings={"properties": dict.fromkeys(FIELDS, english)},
        settings={"number_of_shards": 1, "number_of_replicas": 0},
    )
    bulk(
        stack.es,
        ({"_id": one["_id"], **{f: one[f] for f in FIELDS}} for one in collection.documents),
        index=INDEX,
        refresh=True,
    )
    stack.attach(INDEX, *FIELDS)
    stack.wait(INDEX)
    stack.es.options(request_timeout=600).indices.forcemerge(index=INDEX, max_num_segments=1)
    stack.es.indices.refresh(index=INDEX)


def lexical(text: str) -> dict[str, Any]:
    return {"combined_fields": {"query": text, "fields": FIELDS}}


def knn(query: dict[str, Any]) -> dict[str, Any]:
    return {"field": "esblend.g1.passages.vector", "k": WINDOW, "num_candidates": max(150, WINDOW), **query}


def direct_legs(text: str, vector: list[float]) -> bytes:
    common = {"size": WINDOW, "_source": False}
    lexical_leg = {**common, "query": lexical(text)}
    semantic_leg = {**common, "track_total_hits": False, "knn": knn({"query_vector": vector})}
    return b"".join(json.dumps(line).encode() + b"\n" for line in ({}, lexical_leg, {}, semantic_leg))


def rrf(text: str) -> dict[str, Any]:
    by_text = {"text_embedding": {"model_text": text}}
    legs = [
        {"standard": {"query": lexical(text)}},
        {"knn": {**knn({"query_vector_builder": by_text}), "field": "esblend"}},
    ]
    return {"retriever": {"rrf": {"retrievers": legs, "rank_window_size": WINDOW}}, "size": 10}  # else the window


def hybrid(text: str, **options: Any) -> dict[str, Any]:
    return {"query": {"hybrid": {"query": text, "fields": FIELDS, "rank_window_size": WINDOW, **options}}}


async def post(session: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str]) -> None:
    async with session.post(url, data=body, headers=headers) as answer:
        raw = await answer.read()
        if answer.status != 200 or b'"error"' in raw[:200] or b'"degraded"' in raw:
            raise SystemExit(f"{url}: {answer.status} {raw[:500]!r}")


def kinds(target: Target, encoder: Encoder) -> dict[str, Searches]:
    """The measured calls by name; each takes a query text, and adds a number, since the gateway caches vectors of texts."""
    numbers = count()

    def search(base: str, make: Callable[[str], dict[str, Any]]) -> Searches:
        async def call(session: aiohttp.ClientSession, text: str) -> None:
            body = json.dumps(make(f"{text} {next(numbers)}")).encode()
            await post(session, f"{base}/{INDEX}/_search", body, _JSON)

        return call

    async def encode(text: str) -> list[float]:
        return [round(float(value), 6) for value in await asyncio.to_thread(encoder.encode_query, text)]

    async def only_encode(_: aiohttp.ClientSession, text: str) -> None:
        await encode(f"{text} {next(numbers)}")

    async def encode_and_search(session: aiohttp.ClientSession, text: str) -> None:
        text = f"{text} {next(numbers)}"
        await post(session, f"{target.direct}/{INDEX}/_msearch", direct_legs(text, await encode(text)), _NDJSON)

    def nothing(_: str) -> dict[str, Any]:
        return {"size": 0, "track_total_hits": False, "query": {"match_none": {}}}

    def words(text: str) -> dict[str, Any]:
        return {"query": lexical(text)}

    return {
        "encoder": only_encode,
        DIRECT: encode_and_search,
        "empty, direct": search(target.direct, nothing),
        "empty, through": search(target.gateway, nothing),
        "BM25, direct": search(target.direct, words),
        "BM25, through": search(target.gateway, words),
        "rrf retriever": search(target.gateway, rrf),
        "hybrid rrf": search(target.gateway, lambda text: hybrid(text, fusion="rrf")),
        "hybrid windowed": search(target.gateway, lambda text: hybrid(text, blending="windowed")),
        "hybrid exact": search(target.gateway, hybrid),
    }


async def times(target: Target, encoder: Encoder, texts: list[str], callers: int) -> dict[str, Measured]:
    """Every call of each kind; the kinds take turns."""
    calls = kinds(target, encoder)
    found = {name: Measured() for name in calls}
    supply = cycle(texts)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=callers)) as session:
        for turn in range(-1, ROUNDS):
            batch = [next(supply) for _ in range(PER_ROUND[callers])]
            for name, call in calls.items():
                before = {who: sum(map(cpu_seconds, counted)) for who, counted in target.processes.items()}
                took = await one_round(session, call, batch, callers)
                if turn < 0:  # the first warms up
                    continue
                found[name].took += took
                for who, counted in target.processes.items():
                    spent = sum(map(cpu_seconds, counted)) - before[who]
                    found[name].cpu[who] = found[name].cpu.get(who, 0.0) + spent
    return found


async def one_round(session: aiohttp.ClientSession, call: Any, texts: list[str], callers: int) -> list[float]:
    waiting = iter(texts)
    took = []

    async def caller() -> None:
        for text in waiting:
            began = time.perf_counter()
            await call(session, text)
            took.append((time.perf_counter() - began) * 1000)

    await asyncio.gather(*(caller() for _ in range(callers)))
    return took


def rows_of(found: dict[str, Measured], callers: int) -> Iterator[dict[str, Any]]:
    base = found[DIRECT].took
    for name, measured in found.items():
        took = measured.took
        p50, p95 = statistics.median(took), _p95(took)
        ratios = ["", ""]
        if name.startswith(("rrf", "hybrid")):
            ratios = [f"{p50 / statistics.median(base):.2f}", f"{p95 / _p95(base):.2f}"]
        elif name.endswith("through"):
            plain = found[name.replace("through", "direct")].took
            ratios = [f"+{p50 - statistics.median(plain):.2f} ms", f"+{p95 - _p95(plain):.2f} ms"]
        yield {
            "what": name,
            "callers": callers,
            "p50 ms": round(p50, 2),
            "p95 ms": round(p95, 2),
            "p50 to direct": ratios[0],
            "p95 to direct": ratios[1],
            **{f"CPU ms, {who}": round(spent / len(took) * 1000, 1) for who, spent in measured.cpu.items()},
        }


def _p95(took: list[float]) -> float:
    return statistics.quantiles(took, n=20)[18]


async def requests_a_second(target: Target, gateway: psutil.Process) -> list[dict[str, Any]]:
    """Empty searches over 8 connections, direct and through the gateway; and the rate of one core of the gateway alone."""
    rows = []
    body = b'{"size":0,"track_total_hits":false,"query":{"match_none":{}}}'
    for name, base in (("direct", target.direct), ("through", target.gateway)):
        before = cpu_seconds(gateway)
        ends = time.perf_counter() + THROUGHPUT_SECONDS
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=8)) as session:

            async def caller(base: str = base, ends: float = ends, session: aiohttp.ClientSession = session) -> int:
                sent = 0
                while time.perf_counter() < ends:
                    await post(session, f"{base}/{INDEX}/_search", body, _JSON)
                    sent += 1
                return sent

            total = sum(await asyncio.gather(*(caller() for _ in range(8))))
        spent = cpu_seconds(gateway) - before
        rows.append(
            {
                "empty searches": name,
                "a second": round(total / THROUGHPUT_SECONDS),
                "gateway's CPU ms each": round(spent / total * 1000, 3) if name == "through" else "",
                "a second on one core": round(total / spent) if name == "through" else "",
            }
        )
    return rows


async def load(target: Target, gateway: psutil.Process, texts: list[str]) -> list[dict[str, Any]]:
    """50 concurrent callers with all kinds of searches for a minute; any error fails the run."""
    calls = [
        call
        for name, call in kinds(target, load_encoder("minilm")).items()
        if "direct" not in name and name != "encoder"
    ]
    memory: list[float] = []
    took: list[float] = []
    ends = time.perf_counter() + LOAD_SECONDS

    async def caller(number: int, session: aiohttp.ClientSession) -> None:
        chance = random.Random(number)
        while time.perf_counter() < ends:
            began = time.perf_counter()
            await chance.choice(calls)(session, chance.choice(texts))
            took.append((time.perf_counter() - began) * 1000)

    async def watch() -> None:
        while time.perf_counter() < ends:
            memory.append(memory_megabytes(gateway))
            await asyncio.sleep(1)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=LOAD_CALLERS)) as session:
        await asyncio.gather(watch(), *(caller(number, session) for number in range(LOAD_CALLERS)))
    third = len(memory) // 3
    return [{
        "callers": LOAD_CALLERS, "seconds": LOAD_SECONDS, "searches": len(took), "errors": 0,
        "p50 ms": round(statistics.median(took), 1), "p95 ms": round(statistics.quantiles(took, n=20)[18], 1),
        "memory MB, first third": round(statistics.median(memory[:third])), "last third": round(statistics.median(memory[-third:])),
    }]  # fmt: skip


def cpu_seconds(process: psutil.Process) -> float:
    spent = process.cpu_times()
    return float(spent.user + spent.system)


def measure(stack: BenchStack, texts: list[str]) -> None:
    encoder = load_encoder("minilm", EncoderOptions(use="queries"))  # as in the gateway
    [gateway] = stack.processes("gateway")
    counted = {"Elasticsearch": stack.processes("elasticsearch"), "gateway": [gateway], "caller": [psutil.Process()]}
    target = Target(stack.described["elasticsearch"], stack.described["gateway"], counted)
    rows = [
        row for callers in PER_ROUND for row in rows_of(asyncio.run(times(target, encoder, texts, callers)), callers)
    ]
    rows.sort(key=lambda row: int(row["callers"]))
    note = (
        f"scifact, one shard, one segment, int8_hnsw, window {WINDOW}, ten hits with their sources, MiniLM exact; {ROUNDS} "
        "rounds in which the kinds take turns, first by 16 callers, then, after some 10,000 searches, by one. The direct caller "
        "encodes the text with the same encoder, one text at a time, then sends both legs in one _msearch: ids only, the "
        "lexical leg counts its matches, no page is fetched. The searches through the gateway return the page and its "
        "total. The gateway encodes texts that wait together in one batch. Caller, gateway and Elasticsearch share the "
        "machine; CPU ms of a search are those of the whole process, the encoder included where it runs. Printed by "
        "`python -m bench overhead`."
    )
    write("overhead", "Overhead of the gateway", note, rows)
    note = "8 connections. Client, gateway and Elasticsearch share the machine. Printed by `python -m bench overhead`."
    write(
        "throughput", "Requests per second through the gateway", note, asyncio.run(requests_a_second(target, gateway))
    )
    note = (
        "Each caller sends every kind of search in turn; an error ends the run. Printed by `python -m bench overhead`."
    )
    write("load", "Concurrent callers for a minute", note, asyncio.run(load(target, gateway, texts)))


def main() -> None:
    folder = find_collection("scifact")
    if folder is None:
        sys.exit("the overhead is measured on scifact: name a folder that holds it with ESBLEND_TEST_DATA")
    collection = read_collection(folder)
    with bench_stack() as stack:
        prepare(stack, collection)
        measure(stack, list(collection.queries.values()))
