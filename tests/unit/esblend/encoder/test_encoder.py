"""The encoder gives the reference's vectors, whatever stands beside a text in its batch."""

import importlib
import json
import os
import pickle
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esblend.encoder.batches import SMALLEST_SHARE, equal_length_batches, packed_batches, token_batches
from esblend.encoder.calibration import calibration_texts
from esblend.encoder.encoder import Encoder, EncoderOptions, load_encoder, unit_vectors
from esblend.encoder.folder import find_model
from esblend.encoder.folder_reader import read_folder
from esblend.encoder.local_model import LocalModel
from esblend.encoder.openvino_export import exported_model
from esblend.encoder.threads import available_threads
from esblend.encoder.tokenizer import load_tokenizer
from esblend.errors import EncodingError, ModelError
from tests.later import Later, torch

pooling = Later("esblend.encoder.pooling")
torch_backend = Later("esblend.encoder.torch_backend")
VARIED = [
    "",
    "word",
    "word " * 10_000,
    "🚀🌍 emoji 👩‍👩‍👧",
    "\x00\x01 control \x1f",
    "混合搜索结合了关键词和向量检索",
    "بحث هجين في المستندات",
    "def f(x):\n    return {**x, 'y': [1, 2]}  # code",
    "same same same same same same same same",
    "An ordinary sentence about the boundary layer of a wing.",
    "\ud800 lone surrogate",
]
VALID = [text.replace("\ud800", "\ufffd") for text in VARIED]


@pytest.fixture(scope="module", params=["torch", "openvino"])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    """The packaged MiniLM in full precision, on each backend."""
    loaded = load_encoder("minilm", EncoderOptions(backend=request.param))
    assert loaded.backend == request.param
    return loaded


@pytest.fixture(scope="module")
def fast() -> Encoder:
    return load_encoder("minilm", EncoderOptions(backend="openvino", precision="fast"))


@cache
def reference() -> np.ndarray:
    """VARIED by plain transformers with mean pooling and normalisation, one text at a time."""
    from transformers import AutoModel, AutoTokenizer

    path = str(find_model("minilm").path)
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path).eval()
    rows = []
    for text in VALID:
        inputs = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
        with torch.inference_mode():
            hidden = model(**inputs).last_hidden_state
        mask = inputs["attention_mask"].unsqueeze(-1).float()
        mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        rows.append(torch.nn.functional.normalize(mean, dim=1)[0].numpy())
    return np.stack(rows)


@cache
def by_sentence_transformers() -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(find_model("minilm").path), device="cpu")
    vectors: np.ndarray = model.encode(VALID, normalize_embeddings=True)
    return vectors


def test_vectors_are_those_of_plain_transformers(encoder: Encoder) -> None:
    cosines = (reference() * encoder.encode_documents(VARIED)).sum(axis=1)
    assert cosines.min() >= 0.99999, dict(zip(VARIED, cosines, strict=True))


def test_vectors_are_those_of_sentence_transformers(encoder: Encoder) -> None:
    cosines = (by_sentence_transformers() * encoder.encode_documents(VALID)).sum(axis=1)
    assert cosines.min() >= 0.99999, dict(zip(VARIED, cosines, strict=True))


@pytest.fixture(scope="module")
def prose(fast: Encoder) -> tuple[list[str], np.ndarray]:
    """Ordinary texts, and their vectors by `fast`."""
    texts = [text for text in calibration_texts()[5::10] if len(text) > 100]
    return texts, fast.encode_documents(texts)


def test_fast_is_close_to_exact(encoder: Encoder, fast: Encoder, prose: tuple[list[str], np.ndarray]) -> None:
    """On ordinary prose; `bench/encode` says what it costs in relevance."""
    texts, vectors = prose
    cosines = (vectors * encoder.encode_documents(texts)).sum(axis=1)
    assert cosines.min() >= 0.99
    assert not np.allclose(cosines, 1, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(fast.encode_documents(VARIED), axis=1), 1, atol=1e-6)


def test_mixing_both_precisions_in_one_index_costs_little(fast: Encoder) -> None:
    """Every other document by `fast`, questions by `exact`: the document that a question is from is found as well."""
    exact = load_encoder("minilm", EncoderOptions(backend="openvino"))
    texts = [text.strip()[:400] for text in calibration_texts()[:150]]
    questions = exact.encode_queries([text.split("\n")[0][:80] for text in texts])
    by_exact, by_fast = exact.encode_documents(texts), fast.encode_documents(texts)
    mixed = by_exact.copy()
    mixed[::2] = by_fast[::2]

    def mean_reciprocal_rank(documents: np.ndarray) -> float:
        scores = questions @ documents.T
        ranks = (scores >= np.diag(scores)[:, None]).sum(axis=1)
        return float((1 / ranks).mean())

    assert mean_reciprocal_rank(mixed) >= mean_reciprocal_rank(by_exact) - 0.01


def test_openvino_reports_nothing_to_its_vendor() -> None:
    """Its own stub is in use, and the package that reports cannot be imported, by NNCF either."""
    importlib.import_module("esblend.encoder.openvino_backend")
    from openvino.tools.ovc import telemetry_utils

    assert telemetry_utils.tm.__name__ == "openvino.tools.ovc.telemetry_stub"
    with pytest.raises(ImportError):
        importlib.import_module("openvino_telemetry")


def test_fast_on_pytorch_needs_a_gpu() -> None:
    if torch.cuda.is_available():
        assert load_encoder("minilm", EncoderOptions(backend="torch", precision="fast")).dims == 384
        return
    with pytest.raises(ModelError, match="esblend\\[openvino\\]"):
        load_encoder("minilm", EncoderOptions(backend="torch", precision="fast"))


def test_pytorch_packs_without_padding_and_pads_to_the_same_vectors() -> None:
    model = torch_backend.TorchModel(find_model("minilm"), precision="exact", threads=1, token_budget=600)
    assert model.is_packed
    ids = load_tokenizer(find_model("minilm")).ids([*VARIED, *VARIED])
    packed = model.embed(ids)
    model._model.transformer.set_attn_implementation("sdpa")
    np.testing.assert_allclose(packed, model.embed_padded(ids), atol=1e-5)


def test_many_texts_are_tokenised_ahead_in_order(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = encoder.encode_documents(VARIED)
    monkeypatch.setattr("esblend.encoder.local_model.BLOCK_TEXTS", 3)
    np.testing.assert_allclose(encoder.encode_documents(VARIED), whole, atol=1e-6)


def test_an_export_happens_once_a_digest(encoder: Encoder) -> None:
    folder = find_model("minilm")
    first = exported_model(folder, encoder.digest, "exact")
    born = first.stat().st_mtime_ns
    assert exported_model(folder, encoder.digest, "exact").stat().st_mtime_ns == born


def test_a_text_alone_and_in_a_batch_gets_the_same_vector(encoder: Encoder) -> None:
    together = encoder.encode_documents(VARIED)
    backwards = encoder.encode_documents(VARIED[::-1])[::-1]
    alone = np.stack([encoder.encode_documents([text])[0] for text in VARIED])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(together, backwards, atol=1e-6)


def test_queries_get_the_vectors_of_documents(encoder: Encoder) -> None:
    """A gateway and a worker run the same model in different ways."""
    queries = load_encoder("minilm", EncoderOptions(backend="openvino", use="queries"))
    alone = np.stack([queries.encode_query(text) for text in VARIED])
    np.testing.assert_allclose(alone, encoder.encode_documents(VARIED), atol=1e-6)
    np.testing.assert_allclose(queries.encode_queries(VARIED), alone, atol=1e-6)


def test_short_queries_in_int8_get_the_vectors_of_documents(fast: Encoder) -> None:
    """One query of at most 16 word pieces runs on a copy of the model with a fixed shape."""
    queries = load_encoder("minilm", EncoderOptions(backend="openvino", precision="fast", use="queries"))
    texts = ["word " * count for count in (0, 1, 7, 14, 15, 40)]
    alone = np.stack([queries.encode_query(text) for text in texts])
    assert (alone * fast.encode_documents(texts)).sum(axis=1).min() >= 0.9999
    assert (alone * queries.encode_queries(texts)).sum(axis=1).min() >= 0.9999


def test_vectors_have_unit_length(encoder: Encoder) -> None:
    np.testing.assert_allclose(np.linalg.norm(encoder.encode_documents(VARIED), axis=1), 1, atol=1e-6)
    assert encoder.encode_documents([]).shape == (0, 384)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_unusable_vectors_are_named(bad: float) -> None:
    vectors = np.ones((3, 2), dtype=np.float32)
    vectors[1] = bad
    with pytest.raises(EncodingError, match=r"\[1\]"):
        unit_vectors(vectors)


@given(st.lists(st.integers(0, 600), max_size=60), st.integers(512, 2048))
def test_batches_hold_each_text_once_within_the_budget(lengths: list[int], budget: int) -> None:
    batches, packed = token_batches(lengths, budget), packed_batches(lengths, budget)
    equal = equal_length_batches(lengths, budget)
    for vectors in (batches, packed, equal):
        assert sorted(position for batch in vectors for position in batch) == list(range(len(lengths)))
    for batch in packed:
        assert len(batch) == 1 or sum(lengths[position] for position in batch) <= budget
    assert all(len({lengths[position] for position in batch}) == 1 for batch in equal)
    for batch in (*batches, *equal):
        assert len(batch) == 1 or len(batch) * max(lengths[position] for position in batch) <= budget


@given(st.lists(st.integers(1, 600), max_size=60), st.integers(512, 2048), st.integers(0, 40), st.integers(2, 4))
def test_batches_of_several_streams_are_small_at_the_end_and_padded_little(
    lengths: list[int], budget: int, padding: int, streams: int
) -> None:
    batches = token_batches(lengths, budget, streams=streams, padding=padding)
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    rest = sum(lengths)
    for batch in batches:
        used = sum(lengths[position] for position in batch)
        padded = len(batch) * max(lengths[position] for position in batch)
        assert padded - used <= padding
        assert len(batch) == 1 or padded <= min(budget, max(SMALLEST_SHARE, rest // (2 * streams)))
        rest -= used


def test_pooling_by_hand() -> None:
    hidden = torch.tensor([[[1.0, 4.0], [3.0, 0.0], [9.0, 9.0]]])
    mask = torch.tensor([[1, 1, 0]])
    expected = {
        "mean": [2.0, 2.0],
        "cls": [1.0, 4.0],
        "max": [3.0, 4.0],
        "mean_sqrt_len_tokens": [4 / 2**0.5, 4 / 2**0.5],
        "weightedmean": [7 / 3, 4 / 3],
        "lasttoken": [3.0, 0.0],
    }
    for mode, values in expected.items():
        assert pooling.pool(hidden, mask, [mode])[0].tolist() == pytest.approx(values), mode
    assert pooling.pool(hidden, mask, ["mean", "cls"]).shape == (1, 4)


def test_padding_on_the_left_is_no_token() -> None:
    hidden = torch.tensor([[[9.0], [1.0], [3.0]]])
    mask = torch.tensor([[0, 1, 1]])
    assert pooling.pool(hidden, mask, ["cls"]).item() == 1.0
    assert pooling.pool(hidden, mask, ["lasttoken"]).item() == 3.0


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the packaged model that a test may change."""
    return Path(shutil.copytree(find_model("minilm").path, tmp_path / "model"))


def test_a_folder_is_read_from_its_own_files(copy: Path) -> None:
    settings = {"prompts": {"query": "query: ", "document": "passage: "}}
    (copy / "config_sentence_transformers.json").write_text(json.dumps(settings))
    (copy / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 64, "do_lower_case": True}))
    (copy / "1_Pooling" / "config.json").write_text(
        json.dumps({"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True})
    )
    folder = read_folder(copy, "changed")
    assert (folder.query_prompt, folder.document_prompt) == ("query: ", "passage: ")
    assert (folder.max_tokens, folder.lower_case, folder.pooling_modes) == (64, True, ("cls", "max"))
    assert Encoder(LocalModel(folder, EncoderOptions(backend="torch"))).dims == 768


def test_the_digest_is_of_the_files_not_of_the_name(copy: Path) -> None:
    original = find_model("minilm")
    assert read_folder(copy, "another name").digest() == original.digest()
    (copy / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 64}))
    assert read_folder(copy, "minilm").digest() != original.digest()


@pytest.mark.parametrize(
    ("name", "word"),
    [("", "empty"), ("/no/such/folder", "no such folder"), ("no-such-org/no-such-model", "no-such-model")],
)
def test_a_model_that_is_not_there_is_named(name: str, word: str) -> None:
    with pytest.raises(ModelError, match=word):
        find_model(name)


def test_broken_folders_are_refused(copy: Path) -> None:
    (copy / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_encoder(str(copy), EncoderOptions(backend="torch"))
    (copy / "modules.json").write_text("{")
    with pytest.raises(ModelError, match=r"modules\.json"):
        find_model(str(copy))
    (copy / "modules.json").unlink()
    (copy / "config.json").unlink()
    with pytest.raises(ModelError, match="neither"):
        find_model(str(copy))


class _Exploit:
    """What a pickle of it does when it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.file),)


def test_nothing_in_a_folder_is_run(copy: Path, tmp_path: Path) -> None:
    """Neither its code nor a pickled checkpoint, beside safetensors or in their place."""
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps(_Exploit(tmp_path / "hacked")))
    (copy / "modeling_own.py").write_text(f"import os; os.mkdir({str(tmp_path / 'hacked')!r})\nclass Own: pass\n")
    config = json.loads((copy / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "modeling_own.Own", "AutoConfig": "modeling_own.Own"}
    (copy / "config.json").write_text(json.dumps(config))
    loaded = load_encoder(str(copy), EncoderOptions(threads=1, backend="torch"))
    assert loaded.encode_query("a text").shape == (384,)
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="pickled"):
        load_encoder(str(copy), EncoderOptions(threads=1, backend="torch"))
    assert not (tmp_path / "hacked").exists()


def test_a_folder_cannot_point_outside_of_itself(copy: Path) -> None:
    modules = json.loads((copy / "modules.json").read_text())
    modules[1]["path"] = "../elsewhere"
    (copy / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match="outside"):
        find_model(str(copy))


def test_threads_follow_the_containers_quota(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    assert available_threads(tmp_path) == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert available_threads(tmp_path) >= 1
