"""The relevance cost of `fast`: nDCG@10 of kNN with exact, fast and mixed vectors on judged collections."""

import sys
from typing import Any

import numpy as np

from bench.report import write
from esblend.encoder.encoder import Encoder, EncoderOptions, load_encoder
from mappings.attachment import PassageSettings
from mappings.passages import split
from mappings.source import source_text
from tests.collections import Collection, find_collection, ndcg, read_collection

COLLECTIONS = ("cranfield", "scifact")


def main() -> None:
    exact = load_encoder("minilm", EncoderOptions(backend="openvino"))
    fast = load_encoder("minilm", EncoderOptions(backend="openvino", precision="fast"))
    rows = []
    for name in COLLECTIONS:
        folder = find_collection(name)
        if folder is None:
            sys.exit(f"the collection {name} is not on this machine: name its folder's parent in ESBLEND_TEST_DATA")
        rows += measure(name, read_collection(folder), exact, fast)
    note = (
        "kNN alone, exhaustive, passages as workers make them, MiniLM. Mixed: every other document by `fast`, queries by `exact`. "
        "Cosine: of the same passages by `fast` and by `exact`. Printed by `python -m bench precision`."
    )
    write("precision", "What fast costs", note, rows)


def measure(name: str, collection: Collection, exact: Encoder, fast: Encoder) -> list[dict[str, Any]]:
    passages, owners = [], []
    for position, document in enumerate(collection.documents):
        for passage in split(source_text(document, ["title", "text"]), exact.tokenizer, PassageSettings()):
            passages.append(passage.text)
            owners.append(position)
    by_exact, by_fast = exact.encode_documents(passages), fast.encode_documents(passages)
    mixed = np.where((np.array(owners) % 2 == 0)[:, None], by_fast, by_exact)
    queries = list(collection.queries.values())
    asked_exact, asked_fast = exact.encode_queries(queries), fast.encode_queries(queries)
    cosines = (by_exact * by_fast).sum(axis=1)
    rows = []
    for vectors_name, documents, asked in (
        ("exact", by_exact, asked_exact),
        ("fast", by_fast, asked_fast),
        ("mixed", mixed, asked_exact),
    ):
        rows.append({
            "collection": name,
            "vectors": vectors_name,
            "nDCG@10": round(mean_ndcg(collection, np.array(owners), documents, asked), 4),
            "cosine min": round(float(cosines.min()), 4) if vectors_name == "fast" else "",
            "cosine mean": round(float(cosines.mean()), 4) if vectors_name == "fast" else "",
        })  # fmt: skip
    return rows


def mean_ndcg(collection: Collection, owners: Any, documents: Any, queries: Any) -> float:
    total = 0.0
    for query, scores in zip(collection.queries, queries @ documents.T, strict=True):
        best = np.full(len(collection.documents), -np.inf, dtype=np.float32)
        np.maximum.at(best, owners, scores)
        ranked = [collection.documents[position]["_id"] for position in np.argsort(-best, kind="stable")[:10]]
        total += ndcg(ranked, collection.judgements[query])
    return total / len(collection.queries)
