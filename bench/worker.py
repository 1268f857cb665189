"""One worker process with a stub Elasticsearch, which answers at once: what the worker itself takes for a passage.

read (stub) -> split with the real tokenizer -> vectors that cost nothing, or a GPU's -> JSON -> write (stub)

The tasks run one after the other as Celery runs them; Celery itself is left out. Attempts are counted in a real Valkey.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import psutil
from elastic_transport import ApiResponseMeta, BaseNode, HttpHeaders, TextSerializer
from elastic_transport._node import NodeApiResponse
from elasticsearch import Elasticsearch
from numpy.typing import NDArray
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from bench.report import write
from bench.scale import scaled
from bench.stack import free_port
from bench.stub_worker import READY_MADE
from esblend import smile
from esblend.broker import RangeTask
from esblend.encoder.backend_choice import has_gpu
from esblend.encoder.calibration import calibration_texts
from esblend.encoder.encoder import Encoder, EncoderOptions, load_encoder
from esblend.encoder.model import Form
from esblend.encoder.vector_cache import VectorCache
from esblend.local.valkey import start_valkey
from mappings.attachment import Attachment, Generation, ModelIdentity, PassageSettings, VectorOptions
from mappings.builder import mapping_additions
from workers.embed import WorkerContext, embed

PIECES = 128
"""Word pieces of each document, special tokens included. Each document is one passage."""
DOCUMENTS = scaled(20_000)
TASK = 1000
ROUNDS = 3
_HEADERS = HttpHeaders({"x-elastic-product": "Elasticsearch", "content-type": "application/json"})


class StubIndex:
    """An attached index of texts without vectors. It accepts every write and stays as it is."""

    def __init__(self, texts: Sequence[str], model: ModelIdentity) -> None:
        self.texts = texts
        generation = Generation(model=model, passages=PassageSettings(), vector=VectorOptions())
        attachment = Attachment(field="esblend", source_fields=["body"], active="g1", generations={"g1": generation})
        mapping = {"_meta": {"esblend": attachment.to_meta()}, "properties": mapping_additions(attachment)}
        self._described = {"stub": {"settings": {"index": {"uuid": "stub"}}, "mappings": mapping}}

    def tasks(self) -> Iterator[RangeTask]:
        last = len(self.texts) - 1
        for first in range(0, len(self.texts), TASK):
            yield RangeTask(
                index="stub", uuid="stub", generation="g1", shard=0, after=first - 1,
                until=min(first + TASK - 1, last), max_documents=TASK,
            )  # fmt: skip

    def answer(self, target: str, body: bytes) -> Any:
        if target.startswith("/_bulk"):
            writes = body.count(b"\xff") // 2  # the end of a line in SMILE
            return {"items": [{"update": {"status": 200, "_seq_no": 1}}] * writes}
        if target.startswith("/stub/_search"):
            return self._page(orjson.loads(body))
        if target.startswith("/stub"):
            return self._described
        return {"hits": {"total": {"value": 0}, "hits": []}}  # dead letters

    def _page(self, search: dict[str, Any]) -> Any:
        numbers = search["query"]["bool"]["filter"][0]["range"]["_seq_no"]
        first = numbers["gt"] + 1
        return {"hits": {"hits": [
            {"_id": str(number), "_seq_no": number, "_primary_term": 1, "_version": 1, "_score": 0.0, "sort": [number],
             "_source": {"body": self.texts[number]}}
            for number in range(first, min(numbers["lte"] + 1, first + search["size"]))
        ]}}  # fmt: skip


def client_of(index: StubIndex) -> Elasticsearch:
    """A client whose requests never leave the process."""

    class Node(BaseNode):
        def close(self) -> None:
            pass

        def perform_request(self, method: str, target: str, body: bytes | None = None, *_: Any, **__: Any) -> Any:
            meta = ApiResponseMeta(200, "1.1", _HEADERS, 0.0, self.config)
            return NodeApiResponse(meta, orjson.dumps(index.answer(target, body or b"")))

    return Elasticsearch("http://stub:9200", node_class=Node, serializers={smile.SUBTYPE: TextSerializer()})


class ReadyMade:
    """An encoder with a real model's tokenizer, whose vectors cost nothing."""

    def __init__(self, encoder: Encoder) -> None:
        self.tokenizer, self.digest, self.dims = encoder.tokenizer, encoder.digest, encoder.dims

    def encode_documents(self, texts: Sequence[str], _: Form | None = None) -> NDArray[np.float32]:
        return READY_MADE[[len(text) * 31 % len(READY_MADE) for text in texts]]


class OneEncoder:
    """In place of `Encoders`."""

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder

    def matching(self, *_: Any) -> Any:
        return self.encoder


def texts_of(encoder: Encoder, count: int) -> list[str]:
    """Prose of PIECES word pieces each."""
    prose = " ".join(calibration_texts())
    spans = encoder.tokenizer.spans(prose)
    length = PIECES - encoder.tokenizer.special_tokens
    starts = [number * 131 % (len(spans) - length) for number in range(count)]
    return [prose[spans[start][0] : spans[start + length - 1][1]] for start in starts]


@contextmanager
def valkey() -> Iterator[Redis]:
    with tempfile.TemporaryDirectory() as scratch:
        port = free_port()
        server = psutil.Process(start_valkey(port, Path(scratch)).pid)
        try:
            with Redis(port=port, retry=Retry(ConstantBackoff(0.05), 200)) as redis:
                redis.ping()
                yield redis
        finally:
            server.terminate()
            server.wait()


def measure(count: int, folder: Path) -> list[dict[str, Any]]:
    """One row for each encoder, with and without the embedding cache; medians of rounds, each with an empty cache."""
    encoder = load_encoder("minilm", EncoderOptions(use="queries", threads=1))
    encoders: dict[str, Any] = {"vectors that cost nothing": ReadyMade(encoder)}
    if has_gpu():
        encoders["MiniLM fast on the GPU"] = load_encoder("minilm", EncoderOptions(backend="torch", precision="fast"))
    index = StubIndex(texts_of(encoder, count), ModelIdentity(name="minilm", digest=encoder.digest, dims=encoder.dims))
    with valkey() as redis, client_of(index) as es:
        return [
            row(f"{name}, {'with' if has_cache else 'without'} the embedding cache", count, rounds)
            for name, embedding in encoders.items()
            for has_cache in (False, True)
            for rounds in [
                [seconds(index, es, redis, embedding, folder, has_cache=has_cache) for _ in range(ROUNDS + 1)]
            ]
        ]


def seconds(
    index: StubIndex, es: Elasticsearch, redis: Redis, encoder: Any, folder: Path, *, has_cache: bool
) -> tuple[float, float]:
    """(wall clock, CPU time of this process) for all tasks."""
    file = folder / "vectors.sqlite"
    for old in folder.glob(f"{file.name}*"):
        old.unlink()
    cache = VectorCache(file, scope="stub", dims=encoder.dims, max_bytes=2**30) if has_cache else None
    loaded: Any = OneEncoder(encoder)
    context = WorkerContext(es, redis, loaded, lambda *_: cache)
    began, before = time.perf_counter(), time.process_time()
    for task in index.tasks():
        done = embed(task, context, lane="backfill")
        if done.written != done.documents:
            raise RuntimeError(f"not everything was written: {done}")
    return time.perf_counter() - began, time.process_time() - before


def row(what: str, count: int, rounds: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """The first round is a warm-up."""
    wall, processor = (statistics.median(values) for values in zip(*rounds[1:], strict=True))
    return {"what": what, "passages/s": round(count / wall), "CPU us/passage": round(processor / count * 1e6)}


def main() -> None:
    note = (
        f"{DOCUMENTS} documents of {PIECES} word pieces, one passage each, in tasks of {TASK}; {ROUNDS} rounds after a warm-up, "
        "medians. Elasticsearch is a stub in the same process, Celery is left out. Printed by `python -m bench worker`."
    )
    with tempfile.TemporaryDirectory() as scratch:
        write("worker", "What the worker itself takes", note, measure(DOCUMENTS, Path(scratch)))
