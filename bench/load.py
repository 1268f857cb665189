"""Twice as many searches as the gateway can answer; then ordinary searches while other callers send hostile requests.

Under overload, most of the capacity goes to answers in time, the rest is refused with 429, and memory stays flat. Hostile requests
must not change the latency of ordinary searches more than they change that of direct searches beside direct requests of the same
kind: Elasticsearch's own time. The whole takes about five minutes.
"""

import asyncio
import contextlib
import itertools
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import psutil

from bench.hostile import JSON, Hostile, MakeBody, hostile_requests, hybrid, plain_search
from bench.overhead import INDEX, prepare
from bench.report import write
from bench.stack import bench_stack, memory_megabytes
from tests.collections import find_collection, read_collection

DOCUMENTS = 1000
CALLERS, PAUSE, SECONDS = 4, 0.05, 6
HOSTILE_CALLERS, HOSTILE_PAUSE = 2, 0.1
EACH = "one caller of each kind"
CAPACITY_CALLERS, CAPACITY_SECONDS = 24, 15
OVERLOAD_SECONDS, PATIENCE = 60, 10.0
"""Callers under overload leave after `PATIENCE` seconds."""


@dataclass(frozen=True)
class Way:
    """A way to search: through the gateway, or directly."""

    base: str
    search: MakeBody


async def ordinary(session: aiohttp.ClientSession, way: Way, texts: Iterator[str], until: float) -> list[float]:
    """Milliseconds of each search. Raises on an error."""
    url = f"{way.base}/{INDEX}/_search"
    took = []
    while time.perf_counter() < until:
        began = time.perf_counter()
        async with session.post(url, data=way.search(next(texts)), headers=JSON) as response:
            assert response.status == 200, await response.text()
            await response.read()
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(PAUSE)
    return took


async def hostile(base: str, kind: Hostile, numbers: Iterator[int], until: float) -> int:
    """Sends requests of one kind, one after the other; how many."""
    sent = 0
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=kind.leaves_after)) as session:
        while time.perf_counter() < until:
            body = kind.body(next(numbers))
            with contextlib.suppress(TimeoutError, aiohttp.ClientConnectionError):
                async with session.post(base + kind.target, data=body, headers=kind.headers) as response:
                    assert response.status < 500, await response.text()
                    await response.read()
            sent += 1
            await asyncio.sleep(HOSTILE_PAUSE)
    return sent


async def capacity(session: aiohttp.ClientSession, base: str, texts: Iterator[str]) -> float:
    """Searches a second when a fixed number of callers send one after the other."""
    until = time.perf_counter() + CAPACITY_SECONDS
    answered = 0

    async def caller() -> None:
        nonlocal answered
        while time.perf_counter() < until:
            status = await one_search(session, base, next(texts))
            answered += status == 200

    await asyncio.gather(*(caller() for _ in range(CAPACITY_CALLERS)))
    return answered / CAPACITY_SECONDS


async def one_search(session: aiohttp.ClientSession, base: str, text: str) -> int:
    """The status; 0 if the caller has lost patience."""
    try:
        async with session.post(f"{base}/{INDEX}/_search", data=hybrid(text), headers=JSON) as response:
            await response.read()
            return response.status
    except TimeoutError:
        return 0


async def overload(base: str, gateway: psutil.Process, texts: list[str]) -> list[dict[str, Any]]:
    """Searches arrive at twice the capacity, whether earlier ones were answered or not. No text repeats."""
    numbers = itertools.count()
    supply = (f"{text} {next(numbers)}" for text in itertools.cycle(texts))
    timeout, connector = aiohttp.ClientTimeout(total=PATIENCE), aiohttp.TCPConnector(limit=0)
    statuses: Counter[int] = Counter()
    took: list[float] = []
    memory: list[float] = []
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        await capacity(session, base, supply)  # warms up
        most = await capacity(session, base, supply)
        began = time.perf_counter()

        async def search(text: str) -> None:
            sent = time.perf_counter()
            status = await one_search(session, base, text)
            statuses[status] += 1
            if status == 200:
                took.append((time.perf_counter() - sent) * 1000)

        async with asyncio.TaskGroup() as tasks:
            sent = 0
            while (passed := time.perf_counter() - began) < OVERLOAD_SECONDS:
                while sent < passed * most * 2:
                    tasks.create_task(search(next(supply)))
                    sent += 1
                if len(memory) < passed:
                    memory.append(memory_megabytes(gateway))
                await asyncio.sleep(0.005)
        seconds = time.perf_counter() - began
    third = len(memory) // 3
    return [{
        "capacity, searches/s": round(most), "sent/s": round(sum(statuses.values()) / OVERLOAD_SECONDS),
        "answered/s": round(statuses[200] / seconds), "goodput to capacity": round(statuses[200] / seconds / most, 2),
        "429": statuses[429], "callers without patience": statuses[0],
        "other answers": sum(statuses.values()) - statuses[200] - statuses[429] - statuses[0],
        "p50 ms": round(statistics.median(took)), "p99 ms": round(statistics.quantiles(took, n=100)[98]),
        "memory MB, first third": round(statistics.median(memory[:third])), "last third": round(statistics.median(memory[-third:])),
    }]  # fmt: skip


async def vectors_of(base: str, texts: list[str]) -> list[list[float]]:
    """Rounded, so that requests with a thousand of them stay small."""
    body = {"index": INDEX, "texts": texts}
    async with aiohttp.ClientSession() as session, session.post(f"{base}/_esblend/embed", json=body) as response:
        vectors = (await response.json())["vectors"]
    return [[round(value, 5) for value in vector] for vector in vectors]


async def beside(way: Way, texts: Iterator[str], numbers: Iterator[int], kinds: Sequence[Hostile]) -> dict[str, Any]:
    """Ordinary searches beside one caller of each of these hostile requests."""
    until = time.perf_counter() + SECONDS
    async with aiohttp.ClientSession() as session:
        others = [hostile(way.base, kind, numbers, until) for kind in kinds]
        results = await asyncio.gather(*(ordinary(session, way, texts, until) for _ in range(CALLERS)), *others)
    took = sorted(value for result in results[:CALLERS] if isinstance(result, list) for value in result)
    return {
        "sent": sum(result for result in results[CALLERS:] if isinstance(result, int)), "ordinary": len(took),
        "p50 ms": round(statistics.median(took)), "p99 ms": round(statistics.quantiles(took, n=100)[98]),
        "highest ms": round(took[-1]),
    }  # fmt: skip


async def measure(gateway: str, elasticsearch: str, texts: list[str]) -> list[dict[str, Any]]:
    """Each kind through the gateway, then directly."""
    plain = plain_search(await vectors_of(gateway, texts[:100]))
    turns, numbers = itertools.cycle(texts), itertools.count()
    ways = [Way(gateway, hybrid), Way(elasticsearch, plain)]
    by_way = [hostile_requests(texts, way.search) for way in ways]
    kinds = ["warm-up", "none", *by_way[0], EACH, "none, again"]
    rows = []
    for name in kinds:
        fused, direct = [
            await beside(way, turns, numbers, _callers(name, requests))
            for way, requests in zip(ways, by_way, strict=True)
        ]
        if name != "warm-up":
            row = {"hostile requests": name, **fused}
            rows.append(row | {f"directly: {key}": value for key, value in direct.items()})
    return rows


def _callers(name: str, requests: Mapping[str, Hostile]) -> list[Hostile]:
    if name == EACH:
        return list(requests.values())
    return [requests[name]] * HOSTILE_CALLERS if name in requests else []


def main() -> None:
    folder = find_collection("scifact")
    if folder is None:
        sys.exit("the load test searches scifact: name a folder that holds it with ESBLEND_TEST_DATA")
    collection = read_collection(folder)
    with bench_stack() as stack:
        prepare(stack, replace(collection, documents=collection.documents[:DOCUMENTS]))
        base, texts = stack.described["gateway"], list(collection.queries.values())
        [gateway] = stack.processes("gateway")
        overloaded = asyncio.run(overload(base, gateway, texts))
        rows = asyncio.run(measure(base, stack.described["elasticsearch"], texts))
    note = (
        f"{DOCUMENTS} documents of scifact, `hybrid`. Capacity: {CAPACITY_CALLERS} callers, one search after the other. Then twice "
        f"as many searches arrive for {OVERLOAD_SECONDS} s; no text repeats; callers leave after {PATIENCE:.0f} s. Client, gateway "
        "and Elasticsearch share the machine. Printed by `python -m bench load`."
    )
    write("overload", "Twice the capacity", note, overloaded)
    note = (
        f"{DOCUMENTS} documents of scifact; {CALLERS} callers search with `hybrid`, with {PAUSE * 1000:.0f} ms between searches, "
        f"for {SECONDS} s beside {HOSTILE_CALLERS} callers of one kind of hostile requests with {HOSTILE_PAUSE * 1000:.0f} ms "
        "between them. `directly`: the same without the gateway; BM25 and kNN with vectors that exist already replace `hybrid` in "
        "ordinary and in hostile searches. Client, gateway and Elasticsearch share the machine. Printed by `python -m bench load`."
    )
    write("hostile", "Ordinary searches beside hostile requests", note, rows)
