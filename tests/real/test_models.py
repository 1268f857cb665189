"""Truncated vectors, and a separate query model."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from elasticsearch import ApiError

from esblend.encoder.encoder import load_encoder
from esblend.encoder.folder import find_model
from esblend.encoder.model import Form
from tests.conftest import Stack
from tests.packaged_encoder import packaged_encoder
from tests.real.faults import wait_for, with_vectors
from tests.real.gateways import gateway_with

QUESTION = "marine animals"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the packaged model that a test may change."""
    return Path(shutil.copytree(find_model("minilm").path, tmp_path / "model"))


def test_vectors_are_cut_where_the_model_allows_it(stack: Stack, make_index: Callable[..., str], folder: Path) -> None:
    config = folder / "config_sentence_transformers.json"
    config.write_text(json.dumps({"matryoshka_dims": [128, 256]}))
    index = make_index({"body": "whales"})
    with pytest.raises(ApiError, match="which can be shortened to 128, 256"):
        stack.attach(index, "body", model=str(folder), vector={"dims": 100})
    stack.attach(index, "body", model=str(folder), vector={"dims": 128})
    stack.wait(index)
    [passage] = with_vectors(stack, index, "0")["esblend"]["g1"]["passages"]
    whole = packaged_encoder().encode_documents(["whales"])[0]
    np.testing.assert_allclose(passage["vector"], whole[:128] / np.linalg.norm(whole[:128]), atol=1e-5)
    answer = stack.gateway.search(
        index=index, query={"hybrid": {"query": QUESTION, "alpha": 1, "normalizer": "raw_dot"}}
    )
    query = packaged_encoder().encode_query(QUESTION, Form(dims=128))
    assert answer["hits"]["hits"][0]["_score"] == pytest.approx(float(np.dot(passage["vector"], query)), abs=1e-5)


def test_a_model_that_was_not_trained_to_be_cut_is_not(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index({"body": "whales"})
    with pytest.raises(ApiError, match="was not trained to have them shortened"):
        stack.attach(index, "body", vector={"dims": 128})


def test_another_model_embeds_the_queries(stack: Stack, make_index: Callable[..., str], folder: Path) -> None:
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    index = make_index({"body": "whales"})
    stack.attach(index, "body", query_model=str(folder))
    stack.wait(index)
    documents, queries = packaged_encoder(), load_encoder(str(folder))
    expected = documents.encode_documents(["whales"])[0] @ queries.encode_query(QUESTION)
    answer = stack.gateway.search(
        index=index, query={"hybrid": {"query": QUESTION, "alpha": 1, "normalizer": "raw_dot"}}
    )
    assert answer["hits"]["hits"][0]["_score"] == pytest.approx(float(expected), abs=1e-5)


def test_query_models_are_loaded_before_the_first_query(
    stack: Stack, make_index: Callable[..., str], folder: Path, tmp_path: Path
) -> None:
    index = make_index()
    stack.attach(index, "body", query_model=str(folder))
    with gateway_with(stack, tmp_path) as fresh:
        path, headers = f"/_esblend/indices/{index}/status", {"accept": "application/json"}

        def is_loaded() -> bool:
            return str(folder) in fresh.perform_request("GET", path, headers=headers).body["encoder"]

        wait_for("the query model is loaded", is_loaded)


def test_a_model_of_another_width_cannot_embed_the_queries(
    stack: Stack, make_index: Callable[..., str], folder: Path
) -> None:
    pooling = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    index = make_index({"body": "whales"})
    with pytest.raises(ApiError, match=r"gives vectors of 768 dimensions, but the documents' vectors have 384"):
        stack.attach(index, "body", query_model=str(folder))
