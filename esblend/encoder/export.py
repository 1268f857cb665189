"""Exports a model to OpenVINO, once a machine: in full precision, or quantised to int8 with calibration.

    ModelFolder -> PyTorch module (transformer, pooling, dense) -> OpenVINO [-> NNCF int8] -> cache/<digest>/<precision>

The work is done in a process of its own, so that its memory is given back; processes that start together do it once.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import structlog
from filelock import FileLock

from esblend.cache import cache_dir
from esblend.encoder.backend import Precision
from esblend.encoder.extras import require
from esblend.encoder.folder import ModelFolder, read_folder
from esblend.errors import ModelError

log = structlog.get_logger()
_RECIPE = 3
"""Raised whenever the export changes, so that what an older esblend made is not used."""
_CALIBRATION_TEXTS = 300
_CALIBRATION_CHARACTERS = 200
_SMOOTH_QUANT_ALPHA = 0.7
"""How far activations' outliers move into the weights (Xiao et al., ICML 2023). On MiniLM the smallest cosine to full precision
over scifact's 10,472 passages was 0.947 with NNCF's own 0.95; with 0.7 the 300 worst of those had at least 0.99."""
_LAST_LINES = 5


def exported_model(folder: ModelFolder, digest: str, precision: Precision) -> Path:
    """The exported model's file, made if it is not there. Raises ModelError when the model cannot be exported."""
    place = cache_dir() / "models" / digest[:32] / f"{precision}-{_RECIPE}"
    model = place / "model.xml"
    if model.is_file():
        return model
    needed = ("torch", "transformers", *(["nncf"] if precision == "fast" else []))
    require(*needed, purpose=f"model [{folder.name}] is not in {place} yet. The export to OpenVINO")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_suffix(".lock")):
            if not model.is_file():
                _export_apart(folder, precision, place)
    except OSError as error:
        way_out = "name a folder that can be written in ESBLEND_CACHE_DIR"
        raise ModelError(f"model [{folder.name}] cannot be exported to {place}: {error}; {way_out}") from error
    return model


def _export_apart(folder: ModelFolder, precision: Precision, place: Path) -> None:
    log.info("exporting the model, once on this machine", model=folder.name, precision=precision)
    partial = place.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    command = [sys.executable, "-m", "esblend.encoder.export", str(folder.path), precision, str(partial)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        shutil.rmtree(partial, ignore_errors=True)
        last = " ".join(done.stderr.strip().splitlines()[-_LAST_LINES:])
        raise ModelError(f"model [{folder.name}] cannot be exported for OpenVINO: {last[-500:]}")
    partial.rename(place)


def export(folder: ModelFolder, precision: Precision, place: Path) -> None:
    """Write `model.xml` and its weights into `place`. Imports PyTorch, OpenVINO and, for `fast`, NNCF."""
    import openvino
    import torch

    from esblend.encoder.torch_backend import PooledModel

    example = torch.ones((2, 16), dtype=torch.long)
    with torch.inference_mode(False), torch.no_grad():
        inputs = {"input_ids": example, "attention_mask": example}
        model = openvino.convert_model(PooledModel(folder).eval(), example_input=inputs)
    for entry in model.inputs:
        entry.get_node().set_partial_shape(openvino.PartialShape([-1, -1]))
    model.validate_nodes_and_infer_types()
    if precision == "fast":
        model = _quantize(model, folder)
    openvino.save_model(model, place / "model.xml", compress_to_fp16=False)


def _quantize(model: Any, folder: ModelFolder) -> Any:
    """Weights and activations in int8, calibrated on real texts (NNCF post-training quantisation with SmoothQuant)."""
    import nncf
    import numpy as np

    from esblend.encoder.tokenizer import TextTokenizer

    def inputs(ids: Sequence[int]) -> dict[str, Any]:
        tokens = np.array([ids], dtype=np.int64)
        return {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}

    texts = calibration_texts()
    dataset = nncf.Dataset(TextTokenizer(folder).ids(texts), inputs)
    return nncf.quantize(
        model,
        dataset,
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(texts),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=_SMOOTH_QUANT_ALPHA)
        ),
    )


def calibration_texts() -> list[str]:
    """Prose that every machine has: docstrings of Python's standard library of some length, evenly drawn."""
    from esblend.demo.corpus import read_corpus

    texts = sorted({entry.doc for entry in read_corpus() if len(entry.doc) >= _CALIBRATION_CHARACTERS})
    return texts[:: max(1, len(texts) // _CALIBRATION_TEXTS)]


def main(arguments: Sequence[str]) -> None:
    """`python -m esblend.encoder.export FOLDER PRECISION TARGET`."""
    path, precision, target = arguments
    if precision not in get_args(Precision):
        raise SystemExit(f"no such precision: {precision}")
    export(read_folder(Path(path), path), "fast" if precision == "fast" else "exact", Path(target))


if __name__ == "__main__":
    main(sys.argv[1:])
