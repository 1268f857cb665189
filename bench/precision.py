"""The relevance cost of `fast`: nDCG@10 of kNN with exact, fast and mixed vectors on judged collections.

    python -m bench.precision                                  # all models and collections
    python -m bench.precision all-mpnet-base-v2 cranfield      # one, kept beside the other rows

Document vectors come from the machine's embedding cache where it has them: relevance does not depend on the time they took.
"""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.mpnet import mpnet_folder
from bench.report import kept_rows, write
from esblend.encoder.encoder import Encoder, EncoderOptions, load_encoder
from esblend.encoder.model import Form
from esblend.encoder.vector_cache import cache_for
from esblend.settings import Settings
from mappings.attachment import PassageSettings
from mappings.passages import split
from mappings.source import source_text
from tests.collections import Collection, find_collection, ndcg, read_collection

COLLECTIONS = ("cranfield", "scifact")
MODELS = ("MiniLM", "all-mpnet-base-v2")


def main(models: Sequence[str] = MODELS, collections: Sequence[str] = COLLECTIONS) -> None:
    for model in models:
        path = "minilm" if model == "MiniLM" else str(mpnet_folder())
        exact = load_encoder(path, EncoderOptions(backend="openvino"))
        fast = load_encoder(path, EncoderOptions(backend="openvino", precision="fast"))
        for name in collections:
            folder = find_collection(name)
            if folder is None:
                sys.exit(f"the collection {name} is not on this machine: name its folder's parent in ESBLEND_TEST_DATA")
            rows = [{"model": model, **row} for row in measure(name, read_collection(folder), exact, fast)]
            kept = [row for row in kept_rows("precision") if (row["model"], row["collection"]) != (model, name)]
            _write([*kept, *rows])


def _write(rows: list[dict[str, Any]]) -> None:
    note = (
        "kNN alone, exhaustive, passages as workers make them. Mixed: every other document by `fast`, queries by `exact`. "
        "Cosine: of the same passages by `fast` and by `exact`. Printed by `python -m bench precision`."
    )
    write("precision", "What fast costs", note, sorted(rows, key=lambda row: MODELS.index(row["model"])))


def measure(name: str, collection: Collection, exact: Encoder, fast: Encoder) -> list[dict[str, Any]]:
    passages, owners = [], []
    for position, document in enumerate(collection.documents):
        for passage in split(source_text(document, ["title", "text"]), exact.tokenizer, PassageSettings()):
            passages.append(passage.text)
            owners.append(position)
    by_exact, by_fast = _vectors(exact, passages), _vectors(fast, passages)
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


def _vectors(encoder: Encoder, passages: list[str]) -> Any:
    """As a worker computes them, and with a worker's cache."""
    cache = cache_for(encoder, Form(encoder.dims), Settings())
    return encoder.encode_documents(passages) if cache is None else cache.through(passages, encoder.encode_documents)


def mean_ndcg(collection: Collection, owners: Any, documents: Any, queries: Any) -> float:
    total = 0.0
    for query, scores in zip(collection.queries, queries @ documents.T, strict=True):
        best = np.full(len(collection.documents), -np.inf, dtype=np.float32)
        np.maximum.at(best, owners, scores)
        ranked = [collection.documents[position]["_id"] for position in np.argsort(-best, kind="stable")[:10]]
        total += ndcg(ranked, collection.judgements[query])
    return total / len(collection.queries)


if __name__ == "__main__":
    named = sys.argv[1:]
    main(
        [model for model in MODELS if model in named] or MODELS,
        [name for name in COLLECTIONS if name in named] or COLLECTIONS,
    )
