"""The mean vector that calibrates scores: stored by the feed, sampled where none is stored, on a real stack."""

import asyncio
import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from elasticsearch import AsyncElasticsearch

from esblend.encoder.encoder import Encoder
from mappings.attachment import read_attachment
from mappings.mean_vector_store import sample_mean_vector
from mappings.mean_vectors import MeanVector
from tests.conftest import Stack
from tests.packaged_encoder import packaged_encoder
from tests.real.faults import wait_for

SUBJECTS = ("cats", "ships", "tax", "bread", "snow", "roads", "kings", "rivers", "stones", "books", "coal", "wine")
VERBS = ("sleep", "sink", "rise", "burn", "melt", "end", "rule", "flow", "break", "age")
TEXTS = [f"{subject} {verb}" for subject in SUBJECTS for verb in VERBS]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return packaged_encoder()


def stored(stack: Stack, index: str) -> list[dict[str, Any]]:
    stack.es.indices.refresh(index="esblend-mean-vectors", ignore_unavailable=True)
    answer = stack.es.search(index="esblend-mean-vectors", query={"term": {"index": index}}, ignore_unavailable=True)
    return [hit["_source"] for hit in answer["hits"]["hits"]]


def explained(stack: Stack, index: str, text: str, **options: Any) -> tuple[dict[str, dict[str, float]], str]:
    """(evidence of the semantic leg by document, with the normalised value; where the mean vector came from)."""
    body = {"query": {"hybrid": {"query": text, "alpha": 1, **options}}, "explain": True, "profile": True, "size": 5}
    answer = stack.gateway.search(index=index, body=body)
    evidence = {}
    for explanation in answer["esblend"]["explanations"]:
        leg = explanation["legs"][1]
        evidence[explanation["_id"]] = {key: leg[key] for key in ("normalized", "dot_product", "mean") if key in leg}
    return evidence, answer["esblend"]["profile"]["plan"]["calibration"]


def sampled(stack: Stack, index: str) -> MeanVector:
    """A sample of this process."""
    attachment = read_attachment(stack.es.indices.get_mapping(index=index)[index]["mappings"])
    assert attachment is not None

    async def sample() -> MeanVector | None:
        async with AsyncElasticsearch(stack.described["elasticsearch"]) as es:
            return await sample_mean_vector(es, index, attachment)

    mean = asyncio.run(sample())
    assert mean is not None
    return mean


def test_the_feed_stores_the_mean_of_the_first_hundred_documents(
    stack: Stack, make_index: Callable[..., str], encoder: Encoder
) -> None:
    index = make_index(*({"title": text} for text in TEXTS))
    stack.attach(index, "title")
    stack.wait(index)
    wait_for("the stored mean vector", lambda: stored(stack, index))
    [document] = stored(stack, index)
    assert document["documents"] >= 100
    vector = np.frombuffer(base64.b64decode(document["vector"]), dtype="<f4")
    truth = encoder.encode_documents(TEXTS).mean(axis=0)
    assert float(vector @ truth / np.linalg.norm(vector) / np.linalg.norm(truth)) > 0.99
    query = encoder.encode_query("frozen water")

    def is_stored() -> bool:
        evidence, source = explained(stack, index, "frozen water")
        mean = next(iter(evidence.values()))["mean"]
        return source.endswith("stored by the feed") and mean == pytest.approx(float(query @ vector), abs=1e-4)

    wait_for("the mean vector of the later documents", is_stored)
    whole = sampled(stack, index)
    for window in (50, 7):
        stack.es.indices.put_settings(index=index, settings={"index.max_result_window": window})
        paged = sampled(stack, index)
        assert (paged.sampled, paged.documents) == (whole.sampled, whole.documents) == (len(TEXTS), len(TEXTS))
        np.testing.assert_allclose(paged.vector, whole.vector, atol=1e-5)
    stack.es.indices.delete(index=index)
    wait_for("the removal of the mean vector", lambda: not stored(stack, index))


def test_a_stored_vector_of_another_width_is_ignored(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index(*({"title": text} for text in TEXTS))
    stack.attach(index, "title")
    stack.wait(index)
    wait_for("the stored mean vector", lambda: stored(stack, index))
    other = base64.b64encode(np.ones(3, dtype="<f4").tobytes()).decode()
    stack.es.update_by_query(
        index="esblend-mean-vectors", query={"term": {"index": index}}, refresh=True,
        script={"source": "ctx._source.vector = params.vector", "params": {"vector": other}},
    )  # fmt: skip
    expected = "mean vector of 120 passages of 120 documents, drawn from 120; sampled by the gateway"
    wait_for("a sample", lambda: explained(stack, index, "frozen water")[1] == expected)


def test_the_mean_of_deleted_documents_is_not_used(stack: Stack, make_index: Callable[..., str]) -> None:
    """The few documents that remain are too few for a stored mean, and the gateway samples them."""
    index = make_index(*({"title": text} for text in TEXTS))
    stack.attach(index, "title")
    stack.wait(index)
    wait_for("the stored mean vector", lambda: stored(stack, index))
    stack.es.delete_by_query(
        index=index, query={"bool": {"must_not": {"ids": {"values": ["0", "1", "2"]}}}}, refresh=True
    )
    wait_for("the removal of the mean vector", lambda: not stored(stack, index))
    expected = "mean vector of 3 passages of 3 documents, drawn from 3; sampled by the gateway"
    wait_for("the mean vector of the other documents", lambda: explained(stack, index, "frozen water")[1] == expected)


@pytest.mark.parametrize("similarity", ["l2_norm", "max_inner_product"])
@pytest.mark.parametrize("layout", ["passages", "flat"])
def test_other_similarities_and_layouts_have_the_same_calibrated_value(
    stack: Stack, make_index: Callable[..., str], encoder: Encoder, similarity: str, layout: str
) -> None:
    """MiniLM's vectors have length 1, so that every similarity comes to (dot - m) / (1 - m)."""
    texts = TEXTS[::20]
    index = make_index(*({"title": text} for text in texts))
    stack.attach(index, "title", vector={"similarity": similarity, "layout": layout})
    stack.wait(index)
    dots = encoder.encode_documents(texts) @ encoder.encode_query("frozen water")
    evidence, source = explained(stack, index, "frozen water")
    assert source.endswith("sampled by the gateway")
    for id_, values in evidence.items():
        dot = float(dots[int(id_)])
        assert values["normalized"] == pytest.approx((dot - dots.mean()) / (1 - dots.mean()), abs=1e-3)


@pytest.mark.parametrize("keep_current", [False, True])
def test_adopted_vectors_are_sampled(
    stack: Stack, make_index: Callable[..., str], encoder: Encoder, keep_current: bool
) -> None:
    """All of them, also where esblend embedded one of the documents itself."""
    texts = TEXTS[::20]
    vectors = encoder.encode_documents(texts)
    properties = {
        "title": {"type": "text"},
        "own": {"type": "dense_vector", "dims": 384, "index": True, "similarity": "cosine"},
    }
    documents = [{"title": text, "own": vector.tolist()} for text, vector in zip(texts, vectors, strict=True)]
    if keep_current:
        del documents[0]["own"]
    index = make_index(*documents, properties=properties)
    stack.attach(index, "title", adopt={"field": "own", "keep_current": keep_current})
    if keep_current:
        stack.wait(index)
    dots = vectors @ encoder.encode_query("frozen water")
    evidence, source = explained(stack, index, "frozen water")
    assert source == "mean vector of 6 passages of 6 documents, drawn from 6; sampled by the gateway"
    for id_, values in evidence.items():
        dot = float(dots[int(id_)])
        assert values["normalized"] == pytest.approx((dot - dots.mean()) / (1 - dots.mean()), abs=1e-3)


def test_an_index_of_one_text_has_finite_scores_near_zero(
    stack: Stack, make_index: Callable[..., str], encoder: Encoder
) -> None:
    """To a query that equals every document, the distance between a random and a perfect document is 0."""
    index = make_index(*({"title": "cats sleep"} for _ in range(5)))
    stack.attach(index, "title", vector={"similarity": "l2_norm"})
    stack.wait(index)
    evidence, _ = explained(stack, index, "cats sleep")
    assert [values["normalized"] for values in evidence.values()] == pytest.approx([0] * 5, abs=1e-2)


def test_indices_of_one_search_share_a_mean_vector(
    stack: Stack, make_index: Callable[..., str], encoder: Encoder
) -> None:
    """Indices with one attachment are one corpus: a document's score does not depend on the index that it is in."""
    index = make_index(*({"title": text} for text in TEXTS[:3]))
    other = f"{index}-other"
    stack.es.indices.create(index=other, mappings={"properties": {"title": {"type": "text"}}})
    try:
        for number, text in enumerate(TEXTS[60:66]):
            stack.es.index(index=other, id=f"other-{number}", document={"title": text}, refresh=True)
        for name in (index, other):
            stack.attach(name, "title")
            stack.wait(name)
        dots = encoder.encode_documents([*TEXTS[:3], *TEXTS[60:66]]) @ encoder.encode_query("frozen water")
        evidence, _ = explained(stack, f"{index},{other}", "frozen water")
        for values in evidence.values():
            assert values["mean"] == pytest.approx(float(dots.mean()), abs=1e-3)
    finally:
        stack.es.indices.delete(index=other)
