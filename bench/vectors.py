"""Each vector type on the passages of scifact and squad-dev: recall@10 relative to exact search, latency, size."""

import time
from typing import Any

import numpy as np
from elasticsearch.helpers import streaming_bulk

from bench.report import write
from bench.stack import bench_stack
from esblend.encoder.encoder import EncoderOptions, load_encoder
from mappings.attachment import PassageSettings, VectorOptions
from mappings.passages import split
from mappings.source import source_text
from tests.collections import find_collection, read_collection

KINDS = ("hnsw", "int8_hnsw", "int4_hnsw", "bbq_hnsw", "flat", "int8_flat", "int4_flat", "bbq_flat")
DEPTH, CANDIDATES, OVERSAMPLE = 10, 100, 3.0
QUERIES = 300


def main() -> None:
    encoder = load_encoder("minilm", EncoderOptions())
    texts: list[str] = []
    queries: list[str] = []
    for name in ("scifact", "squad-dev"):
        folder = find_collection(name)
        if folder is None:
            raise SystemExit(f"this measurement needs the collection {name} (ESBLEND_TEST_DATA)")
        collection = read_collection(folder)
        for document in collection.documents:
            source = source_text(document, ["title", "text"])
            texts += [passage.text for passage in split(source, encoder.tokenizer, PassageSettings())]
        queries += list(collection.queries.values())[: QUERIES // 2]
    vectors, asked = encoder.encode_documents(texts), encoder.encode_queries(queries)
    exact = np.argsort(-(asked @ vectors.T), axis=1)[:, :DEPTH]
    rows: list[dict[str, Any]] = []
    with bench_stack() as stack:
        _fill(stack.es, "hnsw", vectors)
        _ask(stack.es, "hnsw", asked, exact, None)  # warm-up, so that the JVM's start does not count for the first type
        stack.es.indices.delete(index="hnsw")
        for kind in KINDS:
            size = _fill(stack.es, kind, vectors)
            for oversample in (None, OVERSAMPLE) if kind not in ("hnsw", "flat") else (None,):
                recall, p50, p95 = _ask(stack.es, kind, asked, exact, oversample)
                rows.append({
                    "type": kind, "oversample": oversample or "", "recall@10": round(recall, 3), "p50 ms": round(p50, 2),
                    "p95 ms": round(p95, 2), "MB on disk": round(size / 2**20, 1),
                })  # fmt: skip
            stack.es.indices.delete(index=kind)
    write(
        "vectors",
        "Ways to keep vectors",
        f"{len(texts)} passages of scifact and squad-dev, MiniLM ({vectors.shape[1]} dimensions), {len(queries)} queries, "
        f"one shard, one segment, {CANDIDATES} candidates; quantised ones also with {OVERSAMPLE:g} times as many scored "
        "again by whole vectors. Recall against the true nearest 10. Printed by `python -m bench vectors`.",
        rows,
    )


def _fill(es: Any, kind: str, vectors: Any) -> int:
    """Create an index with one segment and return its bytes on disk."""
    field = {"type": "dense_vector", "dims": vectors.shape[1], "similarity": "dot_product", "index_options": {
        "type": VectorOptions(type=kind).type}}  # fmt: skip
    es.indices.create(
        index=kind,
        mappings={"properties": {"vector": field}},
        settings={"number_of_shards": 1, "number_of_replicas": 0},
    )
    actions = ({"_id": str(n), "vector": vector.tolist()} for n, vector in enumerate(vectors))
    for _ in streaming_bulk(es, actions, index=kind, chunk_size=500):
        pass
    es.options(request_timeout=600).indices.forcemerge(index=kind, max_num_segments=1)
    es.indices.refresh(index=kind)
    return int(es.indices.stats(index=kind, metric="store")["indices"][kind]["primaries"]["store"]["size_in_bytes"])


def _ask(es: Any, kind: str, asked: Any, exact: Any, oversample: float | None) -> tuple[float, float, float]:
    """(recall, p50, p95 in ms) of all queries after a warm-up."""
    hits, took = 0, []
    for position in [*range(20), *range(len(asked))]:
        knn = {"field": "vector", "query_vector": asked[position].tolist(), "k": DEPTH, "num_candidates": CANDIDATES}
        if oversample is not None:
            knn["rescore_vector"] = {"oversample": oversample}
        elif not kind.startswith(("hnsw", "flat")):
            knn["rescore_vector"] = {"oversample": 0}  # bbq oversamples by default
        began = time.perf_counter()
        answer = es.search(index=kind, knn=knn, size=DEPTH, source=False)
        took.append((time.perf_counter() - began) * 1000)
        if len(took) > 20:
            hits += len({int(hit["_id"]) for hit in answer["hits"]["hits"]} & set(exact[position].tolist()))
    p50, p95 = np.percentile(took[20:], [50, 95])
    return hits / exact.size, float(p50), float(p95)
