"""The indexing pipeline end to end: throughput relative to its parts, its ceiling without encoding, several workers, memory."""

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from elasticsearch.helpers import bulk, parallel_bulk
from redis import Redis

from bench.report import write
from bench.stack import BenchStack, bench_stack, memory_megabytes
from bench.stub_worker import READY_MADE
from esblend.encoder.calibration import calibration_texts
from esblend.encoder.encoder import EncoderOptions, load_encoder
from mappings.attachment import Attachment, PassageSettings
from mappings.builder import mapping_additions
from mappings.passages import split
from mappings.source import SourceText

DOCUMENTS = 1200
SHORT_DOCUMENTS = 200_000
ROUNDS = 3
WORKERS = (1, 2, 4)
INDEX_BODY = {
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


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def end_to_end(stack: BenchStack, bodies: list[str]) -> float:
    """Seconds from the attachment of a filled index to full coverage."""
    fresh_index(stack, "e2e", bodies)
    began = time.monotonic()
    stack.attach("e2e", "body")
    return stack.wait("e2e") - began


def vector_updates(index: str, attachment: Attachment, lengths: list[int]) -> Iterator[dict[str, Any]]:
    """The updates that a worker sends, prepared in advance."""
    for number, length in enumerate(lengths):
        vector = [round(float(value), 7) for value in READY_MADE[length * 31 % 4096]]
        values = {
            "fingerprint": "0" * 44,
            "state": "embedded",
            "passages": [{"vector": vector, "start": 0, "end": length}],
        }
        yield {
            "_op_type": "update", "_index": index, "_id": str(number),
            "doc": {attachment.field: {attachment.active: values}},
        }  # fmt: skip


def mapped_index(stack: BenchStack, name: str, bodies: Any) -> Attachment:
    """A filled index with an attachment's mapping but without `_meta`, so that no worker embeds it."""
    stack.attach("template", "body")
    attachment = Attachment.model_validate(stack.call("GET", "/_esblend/indices/template")["attachment"])
    fresh_index(stack, name, bodies)
    stack.es.indices.put_mapping(index=name, properties=mapping_additions(attachment))
    return attachment


def throughput(stack: BenchStack) -> list[dict[str, Any]]:
    """Encoder alone, bulk alone, both in sequence (computed), and the whole pipeline; interleaved, medians."""
    bodies = texts(DOCUMENTS)
    encoder = load_encoder("minilm", EncoderOptions())
    passages = [
        passage.text for body in bodies for passage in split(SourceText(body, ""), encoder.tokenizer, PassageSettings())
    ]
    end_to_end(stack, bodies)  # warm-up: a fresh JVM compiles its code first
    seconds: dict[str, list[float]] = {"encoder": [], "bulk": [], "pipeline": []}
    for _ in range(ROUNDS):
        seconds["encoder"].append(timed(lambda: encoder.encode_documents(passages)))
        attachment = mapped_index(stack, "bulk", bodies)
        updates = list(vector_updates("bulk", attachment, [len(body) for body in bodies]))
        seconds["bulk"].append(timed(lambda updates=updates: bulk(stack.es, updates, chunk_size=200)))  # type: ignore[misc]
        seconds["pipeline"].append(end_to_end(stack, bodies))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    serial = median["encoder"] + median["bulk"]
    return [
        row(f"encoder alone, their {len(passages)} passages", DOCUMENTS, median["encoder"]),
        row("bulk updates alone, ready-made vectors", DOCUMENTS, median["bulk"]),
        row("one after the other (computed)", DOCUMENTS, serial, ratio=1.0),
        row("esblend, attached to covered", DOCUMENTS, median["pipeline"], ratio=serial / median["pipeline"]),
    ]


def scaling(stack: BenchStack) -> list[dict[str, Any]]:
    """1, 2 and 4 workers, one thread each, on the same documents."""
    bodies = texts(DOCUMENTS)
    stack.stop("worker")
    seconds = [with_workers(stack, count, lambda: end_to_end(stack, bodies)) for count in WORKERS]
    return [
        row(f"esblend, workers of one thread: {count}", DOCUMENTS, taken, ratio=seconds[0] / taken)
        for count, taken in zip(WORKERS, seconds, strict=True)
    ]


def with_workers(stack: BenchStack, count: int, work: Callable[[], float], module: str = "esblend") -> float:
    if count == 0:
        return work()
    command = [module, "worker"] if module == "esblend.cli.main" else [module]
    with stack.process(*command, ESBLEND_ENCODER_THREADS="1", ESBLEND_EMBEDDING_CACHE_MB="0"):
        return with_workers(stack, count - 1, work, module)


def ceiling(stack: BenchStack) -> list[dict[str, Any]]:
    """Many short documents with precomputed vectors, compared with `parallel_bulk` of the same ones; the worker's memory."""
    lengths = [len(text) for text in short_texts(SHORT_DOCUMENTS)]
    attachment = mapped_index(stack, "plain", short_texts(SHORT_DOCUMENTS))

    def plain() -> None:
        for is_done, item in parallel_bulk(
            stack.es, vector_updates("plain", attachment, lengths), thread_count=2, chunk_size=500
        ):
            assert is_done, item

    bulk_seconds = timed(plain)
    stack.es.indices.delete(index="plain")
    memory: list[float] = []
    feed = stack.processes("feed")[0]
    with stack.process("bench.stub_worker", ESBLEND_EMBEDDING_CACHE_MB="0") as worker:
        fresh_index(stack, "stub", short_texts(SHORT_DOCUMENTS))
        done = threading.Event()
        redis = Redis.from_url(stack.described["redis"])
        redis_before = redis_bytes(redis)
        redis_memory = [redis_before]

        def watch() -> None:
            while not done.wait(0.2):
                memory.append(memory_megabytes(worker))
                redis_memory.append(redis_bytes(redis))

        watching = threading.Thread(target=watch)
        watching.start()
        before = sum(feed.cpu_times()[:2])
        began = time.monotonic()
        stack.attach("stub", "body")
        pipeline_seconds = stack.wait("stub") - began
        feed_cpu = sum(feed.cpu_times()[:2]) - before
        done.set()
        watching.join()
        redis.close()
    quarter = max(1, len(memory) // 4)
    return [
        row("parallel_bulk, 2 threads, ready-made vectors", SHORT_DOCUMENTS, bulk_seconds, ratio=1.0),
        row("esblend, stub vectors", SHORT_DOCUMENTS, pipeline_seconds, ratio=bulk_seconds / pipeline_seconds),
        figure("feed: CPU ms per 1,000 changes", feed_cpu * 1e6 / SHORT_DOCUMENTS),
        figure("Redis: KB at most for tasks and results", (max(redis_memory) - redis_before) / 1024),
        figure("worker memory MB after a quarter of the run", memory[quarter]),
        figure("worker memory MB at the end of the run", memory[-1]),
    ]


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
        f"{DOCUMENTS} texts of 20 to 200 words, MiniLM exact, {ROUNDS} interleaved rounds, medians; all on one machine, with "
        "Elasticsearch as one node of 1 GiB heap. Printed by `python -m bench pipeline`."
    )
    with bench_stack() as stack:
        stack.es.indices.create(index="template", **INDEX_BODY)
        rows = throughput(stack)
        write("pipeline", "The pipeline", note, rows)
        write("pipeline", "The pipeline", note, rows + scaling(stack))


def main_ceiling() -> None:
    note = (
        f"{SHORT_DOCUMENTS} one-line documents with vectors that cost nothing, one worker, all on one machine. Printed by "
        "`python -m bench ceiling`."
    )
    with bench_stack() as stack:
        stack.es.indices.create(index="template", **INDEX_BODY)
        stack.stop("worker")
        write("ceiling", "The pipeline around the encoder", note, ceiling(stack))
