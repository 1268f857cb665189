"""Dead letters, texts without words, adopted vectors and orphaned vectors: every document's state is true."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from elasticsearch import AsyncElasticsearch

from esblend.settings import Settings
from indexer.feed.feed import Feed
from indexer.feed.leases import Leases
from indexer.feed.task_queue import TaskQueue
from tests.conftest import Stack
from tests.packaged_encoder import packaged_encoder
from tests.real.faults import wait_for, with_vectors

TOO_LONG = "Whales sing in the deep sea at night. " * 80
"""Several passages; an index that allows one nested object per document rejects it."""


def allow_one_passage(stack: Stack, index: str) -> None:
    """After the attachment, which rejects such an index."""
    stack.es.indices.put_settings(index=index, settings={"index.mapping.nested_objects.limit": 1})


def letters(stack: Stack, index: str) -> set[tuple[str, str | None]]:
    listed = stack.call("GET", "/_esblend/dead-letters", index=index)["dead_letters"]
    return {(letter["id"], letter["routing"]) for letter in listed}


def test_one_id_under_two_routings_has_two_letters(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index(number_of_shards=5)
    stack.attach(index, "body")
    allow_one_passage(stack, index)
    for routing in ("a", "b"):
        stack.es.index(index=index, id="1", routing=routing, document={"body": TOO_LONG}, refresh=True)
    assert stack.wait(index)["dead_letters"] == 2
    assert letters(stack, index) == {("1", "a"), ("1", "b")}
    stack.es.index(index=index, id="1", routing="a", document={"body": "Whales sing."}, refresh=True)
    wait_for("one letter to go", lambda: letters(stack, index) == {("1", "b")})
    assert stack.wait(index)["dead_letters"] == 1


def test_a_letter_whose_mark_is_rejected_is_no_pending_document(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index({"body": "Whales sing.", "own": "field"}, {"body": "Ships sail."})
    stack.es.indices.put_mapping(index=index, dynamic=False)
    stack.attach(index, "body")
    assert stack.wait(index)["embedded"] == 2
    stack.call("POST", f"/_esblend/indices/{index}/backfill", {"paused": True})
    stack.es.index(index=index, id="2", document={"body": "Birds fly.", "unknown": 1}, refresh=True)
    stack.wait(index)
    stack.es.index(index=index, id="3", document={"body": "Fish swim.", "unknown": 1}, refresh=True)
    stack.es.indices.put_mapping(index=index, dynamic="strict")
    stack.es.options(ignore_status=400).update(index=index, id="2", doc={"body": "Birds fly south."})
    status = stack.wait(index)
    assert status["pending"] == 0
    assert status["embedded"] + status["dead_letters"] == 4
    assert status["dead_letters"] == len(letters(stack, index))
    assert stack.esblend("verify", index, "--json").returncode == 0


def test_a_retry_for_a_closed_index_waits_until_it_is_open(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index()
    stack.attach(index, "body")
    allow_one_passage(stack, index)
    stack.es.index(index=index, id="1", document={"body": TOO_LONG})
    assert stack.wait(index)["dead_letters"] == 1
    stack.es.indices.close(index=index)
    stack.es.indices.put_settings(index=index, settings={"index.mapping.nested_objects.limit": None})
    assert stack.call("POST", "/_esblend/dead-letters/_retry", index=index)["dead_letters"] == 1

    async def consider() -> None:
        """As any feed does once a second."""
        settings = Settings(es_url=stack.described["elasticsearch"], redis_url=stack.described["redis"])
        async with AsyncElasticsearch(settings.es_url) as es:
            feed = Feed(es, TaskQueue(settings), Leases(es, "test"), settings)
            await feed._discovery.look()
            await feed._letters.send(feed.feeds)

    asyncio.run(consider())
    assert letters(stack, index) == {("1", None)}
    stack.es.indices.open(index=index)
    wait_for("the letter to go", lambda: not letters(stack, index))
    assert stack.wait(index)["embedded"] == 1


def test_a_clone_has_letters_of_its_own(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index({"body": "Whales sing."}, {"body": "This is a sentence. " * 600})
    clone = f"{index}-clone"
    stack.attach(index, "body", vector={"layout": "flat"})
    assert stack.wait(index)["dead_letters"] == 1
    stack.es.indices.put_settings(index=index, settings={"index.blocks.write": True})
    stack.es.indices.clone(index=index, target=clone, settings={"index.blocks.write": None})
    try:
        wait_for("the clone's letter", lambda: letters(stack, clone) == {("1", None)})
        assert stack.wait(clone)["dead_letters"] == 1
        assert stack.call("GET", "/_esblend/dead-letters", index=index)["total"] == 1
        stack.es.delete_by_query(index="esblend-dead-letters", query={"term": {"index": clone}}, refresh=True)
        faulty = stack.esblend("verify", clone, "--json")
        assert json.loads(faulty.stdout)["faults"]["unlisted"] == 1
        assert stack.esblend("verify", clone, "--repair", "--json").returncode == 0
        assert stack.call("GET", "/_esblend/dead-letters", index=clone)["total"] == 1
        assert stack.esblend("verify", clone, "--json").returncode == 0
    finally:
        stack.es.indices.delete(index=clone)


@pytest.mark.parametrize("layout", ["passages", "flat"])
def test_a_text_without_words_has_no_vector(stack: Stack, make_index: Callable[..., str], layout: str) -> None:
    index = make_index(
        {"body": "\u200b\u200b\u200d"}, {"body": "\u0000\u0001"}, {"body": "\ufeff"}, {"body": "Whales sing."}
    )
    stack.attach(index, "body", vector={"layout": layout})
    status = stack.wait(index)
    assert (status["embedded"], status["without_text"]) == (1, 3)
    hits = stack.gateway.search(index=index, query={"hybrid": {"query": "stones", "alpha": 1}})["hits"]["hits"]
    assert [hit["_id"] for hit in hits] == ["3"]
    assert stack.esblend("verify", index, "--json").returncode == 0


def test_vectors_of_an_earlier_attachment_are_removed(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index(*({"body": f"Text number {number}"} for number in range(5)))
    for _ in range(2):
        stack.attach(index, "body")
        stack.wait(index)
        stack.call("DELETE", f"/_esblend/indices/{index}")
    stack.attach(index, "body")
    stack.wait(index)

    def stored() -> set[str]:
        return {key for number in range(5) for key in with_vectors(stack, index, str(number)).get("esblend", {})}

    assert stored() == {"g1", "g2", "g3"}
    repaired = stack.esblend("verify", index, "--repair")
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert stored() == {"g3"}
    stack.wait(index)
    assert json.loads(stack.esblend("verify", index, "--json").stdout)["clean"]
    stack.es.update(index=index, id="0", doc={"esblend": {"g1": {"fingerprint": "f", "state": "embedded"}}})
    dropped = stack.esblend("migrate", index, "--drop-old", "--json")
    assert dropped.returncode == 0, dropped.stderr
    assert stored() == {"g3"}
    purged = stack.esblend("detach", index, "--purge", "--json")
    assert json.loads(purged.stdout)["purged"] == 5, purged.stderr
    assert stored() == set()


def test_the_owners_vectors_remain_until_their_text_changes(stack: Stack, make_index: Callable[..., str]) -> None:
    encoder = packaged_encoder()
    own = encoder.encode_documents(["a photograph of a lighthouse"])[0]
    field = {"type": "dense_vector", "dims": 384, "similarity": "cosine"}
    index = make_index(
        {"body": "A text beside a vector", "vec": own.tolist()},
        {"vec": own.tolist()},
        {"body": "\u200b", "vec": own.tolist()},
        {"body": "A text without a vector"},
        {"other": "nothing to embed"},
        properties={"body": {"type": "text"}, "vec": field},
    )
    stack.attach(index, "body", adopt={"field": "vec", "keep_current": True})
    status = stack.wait(index)
    assert (status["embedded"], status["without_text"]) == (4, 1)

    def vector(id_: str) -> Any:
        return with_vectors(stack, index, id_).get("vec")

    for id_ in ("0", "1", "2"):
        np.testing.assert_allclose(vector(id_), own, atol=1e-6)
    expected = encoder.encode_documents(["A text without a vector"])[0]
    np.testing.assert_allclose(vector("3"), expected, atol=1e-5)
    assert "vec" not in with_vectors(stack, index, "4")
    stack.es.update(index=index, id="0", doc={"other": "text unchanged"})
    stack.es.update(index=index, id="1", doc={"other": "still no text"})
    stack.es.index(index=index, id="5", document={"body": "New, with its vector", "vec": own.tolist()}, refresh=True)
    stack.wait(index)
    for id_ in ("0", "1", "5"):
        np.testing.assert_allclose(vector(id_), own, atol=1e-6)
    stack.es.update(index=index, id="0", doc={"body": "Dolphins swim."}, refresh=True)
    stack.wait(index)
    np.testing.assert_allclose(vector("0"), encoder.encode_documents(["Dolphins swim."])[0], atol=1e-5)
    verified = stack.esblend("verify", index, "--json")
    assert verified.returncode == 0, verified.stdout
    assert json.loads(verified.stdout)["adopted"] == 3
