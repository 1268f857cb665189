"""Modules of sentence-transformers: pooling, the layers after it, static embeddings, routers; and the formats of weights."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from esblend.encoder import pickled_weights
from esblend.encoder.encoder import EncoderOptions, load_encoder
from esblend.encoder.folder import find_model
from esblend.encoder.folder_reader import POOLING_MODES
from esblend.encoder.openvino_export import export, export_folder, write_quality
from esblend.errors import EncodingError, ModelError
from tests.later import modules, sentence_transformers, torch
from tests.unit.esblend.encoder.parity import TEXTS, assert_same, load, reference
from tests.unit.esblend.encoder.tiny_models import (
    ARCHITECTURES,
    HIDDEN,
    VOCABULARY,
    tokenizer_json,
    write_model,
    write_transformer,
)

BACKENDS = pytest.mark.parametrize("backend", ["torch", "openvino"])


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports of random models do not go to the user's cache."""
    monkeypatch.setenv("ESBLEND_CACHE_DIR", str(tmp_path / "cache"))


def static_embedding() -> Any:
    torch.manual_seed(19)
    return modules.StaticEmbedding(Tokenizer.from_str(tokenizer_json("wordpiece")), torch.randn(VOCABULARY, HIDDEN))


def save(folder: Path, *chain: Any) -> Path:
    sentence_transformers.SentenceTransformer(modules=list(chain), device="cpu").save(str(folder))
    return folder


@pytest.mark.parametrize("mode", POOLING_MODES)
def test_each_pooling_mode(mode: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path, "BERT", pooling=mode)
    assert_same(load(folder).encode_documents(TEXTS), reference(folder))


@BACKENDS
def test_all_pooling_modes_and_layers_in_their_order(backend: str, tmp_path: Path) -> None:
    torch.manual_seed(20)
    norm = modules.LayerNorm(24)
    torch.nn.init.normal_(norm.norm.weight)
    layers = [
        modules.Normalize(),
        modules.Dense(6 * HIDDEN, 24, activation_function=torch.nn.Tanh()),
        norm,
        modules.Dense(24, 24, activation_function=torch.nn.GELU(), use_residual=True),
        modules.Dense(24, 12, bias=False, activation_function=torch.nn.Identity(), use_residual=True),
    ]
    folder = write_model(tmp_path, "BERT", additional=layers, pooling=list(POOLING_MODES))
    assert_same(load(folder, backend).encode_documents(TEXTS), reference(folder))


@BACKENDS
def test_static_embeddings(backend: str, tmp_path: Path) -> None:
    folder = save(tmp_path / "model", static_embedding(), modules.Normalize())
    encoder = load(folder, backend)
    assert_same(encoder.encode_documents(TEXTS), reference(folder))
    with pytest.raises(EncodingError, match=r"\[1\]"):
        encoder.encode_documents(["a text", "", "another"])


def test_static_embeddings_as_model2vec_saves_them(tmp_path: Path) -> None:
    """Rows that word pieces share, and a weight for each word piece."""
    from safetensors.torch import save_file

    folder = save(tmp_path / "model", static_embedding())
    torch.manual_seed(21)
    weights = {
        "embeddings": torch.randn(50, HIDDEN),
        "mapping": torch.randint(0, 50, (VOCABULARY,)),
        "weights": torch.rand(VOCABULARY),
    }
    save_file(weights, next(folder.rglob("model.safetensors")))
    assert_same(load(folder).encode_documents(TEXTS), reference(folder))


def test_a_router_has_its_own_modules_for_queries_and_documents(tmp_path: Path) -> None:
    plain = write_transformer(tmp_path / "plain", ARCHITECTURES["BERT"])
    documents = [modules.Transformer(str(plain), max_seq_length=512), modules.Pooling(HIDDEN, "cls")]
    router = modules.Router.for_query_document(query_modules=[static_embedding()], document_modules=documents)
    folder = save(tmp_path / "model", router, modules.Normalize())
    encoder = load(folder)
    assert_same(encoder.encode_documents(TEXTS), reference(folder, task="document"))
    assert_same(encoder.encode_queries(TEXTS), reference(folder, task="query"))


def test_a_router_after_a_shared_transformer(tmp_path: Path) -> None:
    """As Asym was used: one transformer, and a Dense module for each side. Names and places are those of old folders."""
    torch.manual_seed(22)
    sides = {side: [modules.Dense(HIDDEN, HIDDEN, activation_function=torch.nn.Tanh())] for side in ("query", "doc")}
    folder = write_model(
        tmp_path, "BERT", additional=[modules.Router(sides, route_mappings={("document", None): "doc"})]
    )
    expected = {task: reference(folder, task=task) for task in ("document", "query")}
    [config] = folder.rglob("router_config.json")
    old = json.loads(config.read_text())
    del old["parameters"]["route_mappings"]
    config.unlink()
    (config.parent / "config.json").write_text(json.dumps(old))
    chain = json.loads((folder / "modules.json").read_text())
    chain[2]["type"] = "sentence_transformers.models.Asym"
    (folder / "modules.json").write_text(json.dumps(chain))
    encoder = load(folder)
    assert_same(encoder.encode_documents(TEXTS), expected["document"])
    assert_same(encoder.encode_queries(TEXTS), expected["query"])
    assert np.abs(expected["document"] - expected["query"]).max() > 0.1


def test_each_route_has_its_own_export(tmp_path: Path) -> None:
    documents = static_embedding()
    queries = modules.StaticEmbedding(documents.tokenizer, torch.flip(documents.embedding.weight.detach(), [0]))
    folder = save(
        tmp_path / "model", modules.Router.for_query_document(query_modules=[queries], document_modules=[documents])
    )
    encoder = load(folder, "openvino")
    assert_same(encoder.encode_documents(TEXTS), reference(folder, task="document"))
    assert_same(encoder.encode_queries(TEXTS), reference(folder, task="query"))


def test_a_router_without_a_route_for_queries_is_refused(tmp_path: Path) -> None:
    router = modules.Router({"one": [static_embedding()], "other": [static_embedding()]}, allow_empty_key=False)
    folder = save(tmp_path / "model", router)
    with pytest.raises(ModelError, match="without a route for a document; its routes are one, other"):
        load(folder)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_weights_are_computed_in_full_precision(dtype: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path, "BERT", dtype=dtype)
    expected = reference(folder, model_kwargs={"dtype": torch.float32})
    assert_same(load(folder).encode_documents(TEXTS), expected)


@pytest.mark.parametrize(
    ("pattern", "count", "named"),
    [("**/model.safetensors", 2, "the weights in"), ("2_Dense/*", 1, r"module \[2_Dense\]")],
)
def test_pickled_weights_are_converted_by_the_command_in_the_error(
    pattern: str, count: int, named: str, tmp_path: Path
) -> None:
    """All of them, or those of a Dense module: hub models often have safetensors of the transformer alone."""
    folder = write_model(tmp_path / "the model's folder", "BERT", additional=[modules.Dense(HIDDEN, 8)])
    expected = reference(folder)
    from safetensors.torch import load_file

    for file in [file for file in folder.glob(pattern) if file.suffix == ".safetensors"]:
        torch.save(load_file(file), file.with_name("pytorch_model.bin"))
        file.unlink()
    with pytest.raises(ModelError, match=rf"{named}.*may run code") as refused:
        load(folder)
    command = refused.value.reason.partition("Convert it with: ")[2].replace("python", sys.executable, 1)
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)  # noqa: S602
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote ") == count
    assert_same(load(folder).encode_documents(TEXTS), expected)


class _Exploit:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.file),)


def test_the_conversion_runs_no_code_from_a_pickled_file(tmp_path: Path) -> None:
    torch.save({"weight": _Exploit(tmp_path / "hacked")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(SystemExit, match="cannot be converted"):
        pickled_weights.main([str(tmp_path)])
    assert not (tmp_path / "hacked").exists()


def test_weights_that_do_not_fit_the_configuration_are_refused(tmp_path: Path) -> None:
    """transformers would fill the missing ones with random numbers."""
    folder = write_model(tmp_path, "BERT")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(ModelError, match="16 are missing"):
        load(folder)


def test_what_openvino_cannot_do_is_done_by_pytorch_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ESBLEND_CACHE_DIR", str(tmp_path / "file"))
    folder = write_model(tmp_path, "MPNet")
    encoder = load_encoder(str(folder), EncoderOptions(precision="fast"))
    described = encoder.describe()
    assert (described["backend"], described["precision"]) == ("torch", "exact")
    for part in ("OpenVINO cannot run this model in precision [fast]", "[exact]", "PyTorch pads the batches"):
        assert part in described["detail"]
    with pytest.raises(ModelError, match="cannot be exported"):
        load_encoder(str(folder), EncoderOptions(backend="openvino"))


def test_what_fast_costs_is_told(tmp_path: Path) -> None:
    folder = find_model(str(write_model(tmp_path, "BERT")))
    target = export_folder(folder, folder.digest(), "fast")
    target.mkdir(parents=True)
    export(folder, "exact", target)  # stands for the quantised one, which takes a minute to make
    write_quality(target, 0.97512, 25)
    encoder = load_encoder(str(folder.path), EncoderOptions(backend="openvino", precision="fast", threads=1))
    assert encoder.describe() == {
        "backend": "openvino",
        "precision": "fast",
        "detail": "int8: cosine to full precision at least 0.9751 for 25 texts",
    }


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("1_Pooling", {"include_prompt": False, "pooling_mode": "mean"}, "include_prompt"),
        ("1_Pooling", {"pooling_mode": "attention"}, r"\[attention\]"),
        ("2_Dense", {"module_input_name": "token_embeddings"}, "over word pieces"),
        ("2_Dense", {"activation_function": "torch.nn.modules.activation.Mish"}, r"\[Mish\]"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(
    file: str, content: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = write_model(tmp_path, "BERT", additional=[modules.Dense(HIDDEN, 8)])
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "query: "}}))
    config = json.loads((folder / file / "config.json").read_text())
    (folder / file / "config.json").write_text(json.dumps(config | content))
    with pytest.raises(ModelError, match=message):
        load(folder)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("modules.json", [{"type": "Transformer"}]),
        ("config.json", []),
        ("config_sentence_transformers.json", {"prompts": ["query: "]}),
        ("1_Pooling/config.json", {"pooling_mode": 5}),
        ("tokenizer_config.json", []),
    ],
)
def test_a_json_file_of_another_form_is_refused(file: str, content: Any, tmp_path: Path) -> None:
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    chain = [{"type": "Transformer", "path": ""}, {"type": "Pooling", "path": "1_Pooling"}]
    (tmp_path / "modules.json").write_text(json.dumps(chain))
    (tmp_path / "1_Pooling" / "config.json").write_text("{}")
    assert find_model(str(tmp_path)).pooling_modes == ("mean",)
    (tmp_path / file).write_text(json.dumps(content))
    with pytest.raises(ModelError, match="has another form"):
        find_model(str(tmp_path))
