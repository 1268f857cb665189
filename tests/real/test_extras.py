"""Without PyTorch and transformers: OpenVINO runs exported models, and what is missing is named with its extra."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from esblend.encoder.encoder import EncoderOptions, load_encoder
from tests.conftest import ROOT, Stack, run_esblend
from tests.real.gateways import own_processes


def without(folder: Path, *modules: str) -> str:
    """A PYTHONPATH on which these modules are not installed."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(f"import sys\nsys.modules |= dict.fromkeys({modules!r})\n")
    return f"{folder}{os.pathsep}{ROOT}"


def test_feed_worker_and_gateway_run_without_pytorch(fault_stack: Stack, index_name: str, tmp_path: Path) -> None:
    load_encoder("minilm", EncoderOptions(backend="openvino"))  # exported here, once a machine
    path = without(tmp_path / "path", "torch", "transformers", "nncf")
    fault_stack.es.indices.create(index=index_name, settings={"number_of_replicas": 0})
    fault_stack.es.index(index=index_name, id="1", document={"body": "whales"}, refresh=True)
    with own_processes(fault_stack, tmp_path, PYTHONPATH=path) as gateway:
        fault_stack.attach(index_name, "body")
        fault_stack.wait(index_name)
        answer = gateway.search(index=index_name, query={"hybrid": {"query": "animals of the sea", "alpha": 1}})
        assert [hit["_id"] for hit in answer["hits"]["hits"]] == ["1"]
    fault_stack.es.indices.delete(index=index_name)


ENCODE = "from esblend.encoder.encoder import *; load_encoder('minilm', EncoderOptions(backend={!r}, precision={!r}))"
RERANK = "from esblend.encoder.cross_encoder import CrossEncoder; CrossEncoder('any', threads=1)"
NOT_EXPORTED = {"ESBLEND_CACHE_DIR": "empty"}


@pytest.mark.parametrize(
    ("missing", "code", "cache", "command"),
    [
        ("torch", ENCODE.format("torch", "exact"), {}, "PyTorch, which is not installed: pip install 'esblend[torch]'"),
        ("transformers", ENCODE.format("torch", "exact"), {}, "pip install 'esblend[torch]'"),
        ("openvino", ENCODE.format("openvino", "exact"), {}, "OpenVINO, which is not installed: pip install 'esblend[openvino]'"),
        ("torch", ENCODE.format("openvino", "exact"), NOT_EXPORTED, "pip install 'esblend[torch]'"),
        ("torch", ENCODE.format("auto", "exact"), NOT_EXPORTED, "pip install 'esblend[torch]'"),
        ("nncf", ENCODE.format("openvino", "fast"), NOT_EXPORTED, "NNCF, which is not installed: pip install 'esblend[worker]'"),
        ("torch", RERANK, {}, "pip install 'esblend[torch]'"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_with_its_extra(
    missing: str, code: str, cache: dict[str, str], command: str, tmp_path: Path
) -> None:
    environment = {key: str(tmp_path / value) for key, value in cache.items()}
    env = {**os.environ, "PYTHONPATH": without(tmp_path / "path", missing), **environment}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("esblend.errors.ModelError")
    assert command in last


@pytest.mark.parametrize(
    ("command", "missing", "extra"),
    [
        (("train", "out", "--model", "minilm", "--data-config", "none.json"), "sentence_transformers", "train"),
        (("train", "out", "--model", "minilm", "--data-config", "none.json"), "torch", "torch"),
        (("eval", "none"), "ir_measures", "lab"),
        (("tune", "none"), "scipy", "lab"),
    ],
)
def test_a_command_without_its_extra_says_how_to_install_it(
    command: tuple[str, ...], missing: str, extra: str, tmp_path: Path
) -> None:
    done = run_esblend(*command, env={"PYTHONPATH": without(tmp_path / "path", missing)})
    assert done.returncode == 1
    assert f"pip install 'esblend[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr
