"""The indexing pipeline end to end: throughput relative to its parts, its ceiling without encoding, several workers, memory."""

import base64
import statistics
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

import psutil
from elasticsearch.helpers import bulk, parallel_bulk
from redis import Redis

from bench.ingest_costs import Costs, measured, part_row
from bench.report import write
from bench.scale import scaled
from bench.stack import BenchStack, bench_stack, free_port, memory_megabytes
from bench.stub_worker import READY_MADE
from esblend import smile
from esblend.elasticsearch_connection import connect
from esblend.encoder.calibration import calibration_texts
from esblend.encoder.encoder import EncoderOptions, load_encoder
from mappings.attachment import Attachment, PassageSettings
from mappings.builder import mapping_additions
from mappings.passages import split
from mappings.source import SourceText

DOCUMENTS = scaled(4800)
"""About a minute: the attachment is noticed within a second, which counts."""
SCALING_DOCUMENTS = scaled(1200)
SHORT_DOCUMENTS = scaled(60_000)
ROUNDS = 3
_CHUNK = 500
"""Updates in a request."""
WORKERS = (1, 2, 4)
COSTS_NOTE = (
    "CPU: seconds of user and system time of each process with its children; share of all of them. Worker: share of the time from "
    "attached to covered; its steps overlap. Bytes as Elasticsearch counts them, of its five "
    "busiest routes; it does not count the bodies of `_bulk`."
)
INDEX_BODY: dict[str, Any] = {
    "settings": {"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "1s"},
    "mappings": {"properties": {"body": {"type": "text"}}},
}


def texts(count: int) -> list[str]:
    """Prose of 20 to 200 words."""
    words = " ".join(calibration_texts()).split()
    return [
        " ".join(words[(at := number * 97 % (len(words) - 300)) : at + 20 + number * 37 % 180])
        for number in range(count)
    ]


def short_texts(count: int) -> Iterator[str]:
    for number in range(count):
        yield f"Short document number {number} about wings, heat and the flow of air, in {number % 89} words or so"


def fresh_index(stack: BenchStack, name: str, bodies: Any) -> None:
    stack.es.options(ignore_status=404).indices.delete(index=name)
    stack.es.indices.create(index=name, **INDEX_BODY)
    actions = ({"_index": name, "_id": str(number), "body": body} for number, body in enumerate(bodies))
    for is_done, item in parallel_bulk(stack.es, actions, thread_count=2, chunk_size=1000):
        assert is_done, item
    stack.es.indices.refresh(index=name)


def end_to_end(stack: BenchStack, bodies: list[str], **measure: Any) -> Costs:
    """From the attachment of a filled index to full coverage."""
    fresh_index(stack, "e2e", bodies)
    with measured(stack, "e2e", **measure) as costs:
        stack.attach("e2e", "body")
        stack.wait("e2e")
    return costs


def vector_updates(
    index: str, attachment: Attachment, lengths: list[int], *, is_base64: bool = False, is_smile: bool = False
) -> Iterator[dict[str, Any]]:
    """The updates that a worker sends."""
    for number, length in enumerate(lengths):
        vector = READY_MADE[length * 31 % 4096] if is_smile else ready_made(length, is_base64=is_base64)
        values = {
            "fingerprint": "0" * 44,
            "state": "embedded",
            "passages": [{"vector": vector, "start": 0, "end": length}],
        }
        yield {
            "_op_type": "update", "_index": index, "_id": str(number),
            "doc": {attachment.field: {attachment.active: values}},
        }  # fmt: skip


@cache
def ready_made(length: int, *, is_base64: bool) -> list[float] | str:
    """The vector that the worker with precomputed vectors has for a text of this length: the shortest digits of its 32-bit numbers,
    or base64."""
    ready = READY_MADE[length * 31 % 4096]
    return base64.b64encode(ready.astype(">f4").tobytes()).decode() if is_base64 else [float(str(x)) for x in ready]


def mapped_index(stack: BenchStack, name: str, bodies: Any) -> Attachment:
    """A filled index with an attachment's mapping but without `_meta`, so that no worker embeds it."""
    stack.attach("template", "body")
    attachment = Attachment.model_validate(stack.call("GET", "/_esblend/indices/template")["attachment"])
    fresh_index(stack, name, bodies)
    stack.es.indices.put_mapping(index=name, properties=mapping_additions(attachment))
    return attachment


def throughput(stack: BenchStack) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Encoder alone, bulk alone, both in sequence (computed), and the whole pipeline; interleaved, medians. Then the costs of the
    last round."""
    bodies = texts(DOCUMENTS)
    encoder = load_encoder("minilm", EncoderOptions())
    passages = [
        passage.text for body in bodies for passage in split(SourceText(body, ""), encoder.tokenizer, PassageSettings())
    ]
    seconds: dict[str, list[float]] = {"encoder": [], "bulk": [], "pipeline": []}
    with worker_process(stack) as measure:
        end_to_end(stack, bodies[: DOCUMENTS // 2], **measure)  # warm-up: a fresh JVM compiles its code first
        for _ in range(ROUNDS):
            with measured(stack, **measure) as encoding:
                encoder.encode_documents(passages)
            attachment = mapped_index(stack, "bulk", bodies)
            updates = list(vector_updates("bulk", attachment, [len(body) for body in bodies]))
            with measured(stack, "bulk", **measure) as writing:
                bulk(stack.es, updates, chunk_size=200)
                stack.es.indices.refresh(index="bulk")  # a covered index is searchable, too
            costs = end_to_end(stack, bodies, **measure)
            for name, part in zip(seconds, (encoding, writing, costs), strict=True):
                seconds[name].append(part.seconds)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    serial = median["encoder"] + median["bulk"]
    rows = [
        row(f"encoder alone, their {len(passages)} passages", DOCUMENTS, median["encoder"]),
        row("bulk updates and a refresh alone, ready-made vectors", DOCUMENTS, median["bulk"]),
        row("one after the other (computed)", DOCUMENTS, serial, ratio=1.0),
        row("esblend, attached to covered", DOCUMENTS, median["pipeline"], ratio=serial / median["pipeline"]),
    ]
    alone = [
        part_row("CPU: the encoder alone", encoding.cpu["bench"], DOCUMENTS),
        part_row("CPU: Elasticsearch, bulk updates and a refresh alone", writing.cpu["elasticsearch"], DOCUMENTS),
    ]
    return rows, [*costs.rows(DOCUMENTS), *alone]


def scaling(stack: BenchStack) -> list[dict[str, Any]]:
    """1, 2 and 4 workers, one thread each, on the same documents."""
    bodies = texts(SCALING_DOCUMENTS)
    seconds = [with_workers(stack, count, lambda: end_to_end(stack, bodies).seconds) for count in WORKERS]
    return [
        row(f"esblend, workers of one thread: {count}", SCALING_DOCUMENTS, taken, ratio=seconds[0] / taken)
        for count, taken in zip(WORKERS, seconds, strict=True)
    ]


def with_workers(stack: BenchStack, count: int, work: Callable[[], float]) -> float:
    if count == 0:
        return work()
    with stack.process("esblend", "worker", ESBLEND_ENCODER_THREADS="1", ESBLEND_EMBEDDING_CACHE_MB="0"):
        return with_workers(stack, count - 1, work)


@contextmanager
def worker_process(stack: BenchStack, *module: str) -> Iterator[dict[str, Any]]:
    """A worker with metrics, in place of the stack's; the arguments of `measured` that name it."""
    port = free_port()
    environment = {"ESBLEND_EMBEDDING_CACHE_MB": "0", "ESBLEND_METRICS_PORT": str(port)}
    with stack.process(*(module or ("esblend", "worker")), **environment) as worker:
        yield {"workers": {"worker": worker}, "metrics_port": port}


def ceiling(stack: BenchStack) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Many short documents with precomputed vectors, compared with `parallel_bulk` of the same ones; the worker's memory. Rounds
    are interleaved; rates are medians, costs those of the last round."""
    lengths = [len(text) for text in short_texts(SHORT_DOCUMENTS)]
    plain: list[Costs] = []
    esblend: list[Costs] = []
    with worker_process(stack, "bench.stub_worker") as measure:
        # Warm-up of both: a fresh JVM compiles its code first.
        plain_bulk(stack, lengths[: len(lengths) // 10], is_base64=False)
        stub_ingest(stack, SHORT_DOCUMENTS // 10, measure)
        with watched_memory(stack, measure["workers"]["worker"]) as (memory, redis_memory):
            for _ in range(ROUNDS):
                plain.append(plain_bulk(stack, lengths, is_base64=False))
                esblend.append(stub_ingest(stack, SHORT_DOCUMENTS, measure))
        base64_costs = plain_bulk(stack, lengths, is_base64=True)
        smile_costs = smile_bulk(stack, lengths)
    seconds = [statistics.median(costs.seconds for costs in rounds) for rounds in (plain, esblend)]
    quarter = max(1, len(memory) // 4)
    rows = [
        row("parallel_bulk, 2 threads, ready-made vectors as numbers", SHORT_DOCUMENTS, seconds[0], ratio=1.0),
        row("esblend, stub vectors", SHORT_DOCUMENTS, seconds[1], ratio=seconds[0] / seconds[1]),
        row(
            "parallel_bulk, 2 threads, ready-made vectors as base64, one round",
            SHORT_DOCUMENTS,
            base64_costs.seconds,
            ratio=seconds[0] / base64_costs.seconds,
        ),
        row(
            "the same numbers in SMILE, 2 threads, one round",
            SHORT_DOCUMENTS,
            smile_costs.seconds,
            ratio=seconds[0] / smile_costs.seconds,
        ),
        figure("feed: CPU ms per 1,000 changes", esblend[-1].cpu["feed"] * 1e6 / SHORT_DOCUMENTS),
        figure("Redis: KB at most for tasks and results", (max(redis_memory) - redis_memory[0]) / 1024),
        figure("worker memory MB after a quarter of the run", memory[quarter]),
        figure("worker memory MB at the end of the run", memory[-1]),
    ]
    alone = [
        part_row(f"CPU: {process}, bulk updates alone, {name}", part.cpu[process], SHORT_DOCUMENTS)
        for name, part in (("numbers", plain[-1]), ("base64", base64_costs), ("numbers in SMILE", smile_costs))
        for process in ("elasticsearch", "bench")
    ]
    return rows, [*esblend[-1].rows(SHORT_DOCUMENTS), *alone]


def stub_ingest(stack: BenchStack, documents: int, measure: dict[str, Any]) -> Costs:
    """From the attachment of a filled index to full coverage, by the worker with precomputed vectors."""
    fresh_index(stack, "stub", short_texts(documents))
    with measured(stack, "stub", **measure) as costs:
        stack.attach("stub", "body")
        stack.wait("stub")
    stack.es.indices.delete(index="stub")
    return costs


@contextmanager
def watched_memory(stack: BenchStack, worker: psutil.Process) -> Iterator[tuple[list[float], list[int]]]:
    """(MB of the worker, bytes of Redis), each second while the block runs."""
    redis = Redis.from_url(stack.described["redis"])
    memory, redis_memory = [memory_megabytes(worker)], [redis_bytes(redis)]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(1.0):
            memory.append(memory_megabytes(worker))
            redis_memory.append(redis_bytes(redis))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield memory, redis_memory
    finally:
        done.set()
        watching.join()
        redis.close()


def plain_bulk(stack: BenchStack, lengths: list[int], *, is_base64: bool) -> Costs:
    """The same updates by the client's `parallel_bulk`."""
    attachment = mapped_index(stack, "plain", short_texts(len(lengths)))
    for length in set(lengths):
        ready_made(length, is_base64=is_base64)
    updates = vector_updates("plain", attachment, lengths, is_base64=is_base64)
    with measured(stack, "plain") as costs:
        for is_done, item in parallel_bulk(stack.es, updates, thread_count=2, chunk_size=_CHUNK):
            assert is_done, item
        stack.es.indices.refresh(index="plain")  # a covered index is searchable, too
    stack.es.indices.delete(index="plain")
    return costs


def smile_bulk(stack: BenchStack, lengths: list[int]) -> Costs:
    """The same updates in SMILE, in which workers write them; the client does not offer it."""
    attachment = mapped_index(stack, "plain", short_texts(len(lengths)))
    updates = list(vector_updates("plain", attachment, lengths, is_smile=True))

    def write(start: int) -> None:
        lines = [
            content
            for update in updates[start : start + _CHUNK]
            for content in ({"update": {"_index": update["_index"], "_id": update["_id"]}}, {"doc": update["doc"]})
        ]
        headers = {"content-type": smile.MEDIA_TYPE, "accept": "application/json"}
        response = es.perform_request("POST", "/_bulk", headers=headers, body=b"".join(smile.lines(lines)))
        assert not response.body["errors"]

    with connect(stack.settings()) as es, measured(stack, "plain") as costs:
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(write, range(0, len(updates), _CHUNK)))
        stack.es.indices.refresh(index="plain")
    stack.es.indices.delete(index="plain")
    return costs


def redis_bytes(redis: Redis) -> int:
    return int(dict(redis.info("memory"))["used_memory"])


def row(what: str, documents: int, seconds: float, *, ratio: float | None = None) -> dict[str, Any]:
    return {
        "what": what,
        "documents": documents,
        "documents/s": round(documents / seconds, 1),
        "ratio": "" if ratio is None else round(ratio, 2),
        "figure": "",
    }


def figure(what: str, value: float) -> dict[str, Any]:
    return {"what": what, "documents": "", "documents/s": "", "ratio": "", "figure": round(value, 1)}


def main() -> None:
    note = (
        f"{DOCUMENTS} texts of 20 to 200 words, MiniLM exact, {ROUNDS} interleaved rounds after a warm-up, medians; all on one "
        "machine, with Elasticsearch as one node of 1 GiB heap. Results before this sentence are of 2,400 texts, a minute "
        "at half the speed. Printed by `python -m bench pipeline`."
    )
    with bench_stack() as stack:
        stack.es.indices.create(index="template", **INDEX_BODY)
        stack.stop("worker")
        rows, costs = throughput(stack)
        write("pipeline-costs", "What the pipeline costs", f"The last round. {note} {COSTS_NOTE}", costs)
        write("pipeline", "The pipeline", note, rows + scaling(stack))


def main_ceiling() -> None:
    note = (
        f"{SHORT_DOCUMENTS} one-line documents with vectors that cost nothing, one worker, {ROUNDS} interleaved rounds after a "
        "warm-up of both, medians; all on one machine. The ratio is to parallel_bulk with numbers in JSON; esblend writes the same "
        "numbers in SMILE, which the client does not offer. parallel_bulk gets ready-made lists of numbers, with the shortest "
        "digits that 32 bits need, and ends with a refresh. In results before this sentence it rounded numbers to 7 decimals "
        "within the measured time, and ended without a refresh. Printed by `python -m bench ceiling`."
    )
    with bench_stack() as stack:
        stack.es.indices.create(index="template", **INDEX_BODY)
        stack.stop("worker")
        rows, costs = ceiling(stack)
        write("ceiling-costs", "What the pipeline around the encoder costs", f"{note} {COSTS_NOTE}", costs)
        write("ceiling", "The pipeline around the encoder", note, rows)
