"""What workers write in SMILE, Elasticsearch reads and stores as the same values."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from esblend import smile
from esblend.elasticsearch_connection import connect
from esblend.settings import Settings
from mappings.source import SourceText
from tests.conftest import Stack
from workers.conditional_writes import Write, write_all
from workers.documents import Document

NUMBERS = np.array(
    [0.0, -0.0, 1.0, -1.5, 0.1, 1e-7, -3.25e-12, 1e-45, 1.17549435e-38, 3.4028235e38, 16777217.0, 0.05272799],
    np.float32,
)
CONTENT: dict[str, Any] = {
    "integers": [0, -1, 31, 32, -32, -33, 8191, 8192, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**63 - 1, -(2**63)],
    "strings": ["", "x", "a" * 32, "a" * 33, "a" * 3000, "é", "日本語" * 40, "😀", "line\nbreak\x00\x7f"],
    "others": [None, True, False, [], {}, [[], {"a": []}]],
    "a" * 64: 1,
    "a" * 65: 2,
    "é": 3,
    "日本語" * 30: 4,
}


def write(stack: Stack, index: str, *lines: Any) -> None:
    with connect(Settings(es_url=stack.described["elasticsearch"])) as es:
        response = es.perform_request(
            "POST",
            f"/{index}/_bulk",
            headers={"content-type": smile.MEDIA_TYPE, "accept": "application/json"},
            body=b"".join(smile.lines(lines)),
        )
    assert not response.body["errors"], response.body


def test_every_value_is_read_as_it_was(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index({"body": "text"}, properties={"kept": {"type": "object", "enabled": False}})
    action = {"update": {"_id": "0", "if_seq_no": 0, "if_primary_term": 1}}
    write(stack, index, action, {"doc": {"kept": {**CONTENT, "numbers": NUMBERS}}})
    source = stack.es.get(index=index, id="0")["_source"]
    numbers = source["kept"].pop("numbers")
    assert source == {"body": "text", "kept": CONTENT}
    assert np.array(numbers, np.float32).tobytes() == NUMBERS.tobytes()


def test_a_vector_is_stored_as_numbers(stack: Stack, make_index: Callable[..., str]) -> None:
    """Also before a refresh, and with its exact bits (decision 17)."""
    vector = np.random.default_rng(5).standard_normal(16).astype(np.float32)
    field = {"type": "dense_vector", "dims": 16, "similarity": "l2_norm"}
    index = make_index(
        {"body": "text"},
        properties={"passages": {"type": "nested", "properties": {"vector": field}}},
        refresh_interval="-1",
    )
    write(stack, index, {"update": {"_id": "0"}}, {"doc": {"passages": [{"vector": vector}]}})
    for _ in range(2):
        raw: Any = stack.es.perform_request(
            "GET",
            f"/{index}/_doc/0",
            params={"_source_exclude_vectors": "false"},
            headers={"accept": "application/json"},
        )
        stored = raw["_source"]["passages"]
        passage = stored[0] if isinstance(stored, list) else stored
        assert np.array(passage["vector"], np.float32).tobytes() == vector.tobytes()
        stack.es.indices.refresh(index=index)


IDS = {"x" * 512: None, "é" * 256: "é" * 100, "😀": "r" * 600, 'a\nb\x7f"\\': " ", "ÿ" * 65: "日本語"}
"""Routing by id; no id may be longer."""


@pytest.mark.parametrize("source", ["stored", "synthetic"])
def test_unusual_ids_and_routings_are_written_under_their_condition(
    stack: Stack, make_index: Callable[..., str], source: str
) -> None:
    field = {"type": "dense_vector", "dims": 16, "similarity": "l2_norm"}
    kept = {"index.mapping.exclude_source_vectors": False, "index.mapping.source.mode": source}
    index = make_index(properties={"state": {"type": "keyword"}, "vector": field}, **kept)
    vectors = np.random.default_rng(6).standard_normal((len(IDS), 16)).astype(np.float32)
    vectors[:, :4] = NUMBERS[[1, 5, 7, 8]]  # -0.0 and the smallest numbers
    writes = []
    for vector, (id_, routing) in zip(vectors, IDS.items(), strict=True):
        made = stack.es.index(index=index, id=id_, routing=routing, document={"state": "\u00ff"})
        document = Document(
            id_, routing, made["_seq_no"], made["_primary_term"], 1, SourceText("", ""), "", None, None, 0
        )
        action = {"_index": index, "_id": id_, "if_seq_no": document.seq_no, "if_primary_term": document.primary_term}
        update = {"update": action if routing is None else {**action, "routing": routing}}
        writes.append(Write(document, update, {"doc": {"vector": vector}}))
    with connect(Settings(es_url=stack.described["elasticsearch"])) as es:
        assert {result.status for result in write_all(es, writes, read_at=time.monotonic())} == {200}
        assert {result.status for result in write_all(es, writes, read_at=time.monotonic(), refresh=True)} == {409}
    found = {hit["_id"]: hit["_source"] for hit in stack.es.search(index=index)["hits"]["hits"]}
    for vector, (id_, routing) in zip(vectors, IDS.items(), strict=True):
        stored = stack.es.get(index=index, id=id_, routing=routing)["_source"]
        assert stored["state"] == "\u00ff"
        for read in (stored, found[id_]):
            assert np.array(read["vector"], np.float32).tobytes() == vector.tobytes()
