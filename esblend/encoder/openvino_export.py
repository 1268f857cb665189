"""Exports a model to OpenVINO once per machine: in full precision, or quantised to int8 with calibration.

    ModelFolder -> PyTorch module -> OpenVINO [-> NNCF int8] -> cache/<digest>/<precision>

A separate process does the work, so that its memory is freed afterwards. A file lock makes processes that start at the same time
export only once.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import structlog
from filelock import FileLock

from esblend.cache import cache_dir
from esblend.encoder.backend import Precision
from esblend.encoder.calibration import calibration_texts, comparison_texts
from esblend.encoder.folder_reader import read_folder
from esblend.encoder.model_folder import ModelFolder
from esblend.errors import ModelError
from esblend.extras import require

log = structlog.get_logger()
_RECIPE = 4
"""Increased whenever the export changes, so that exports of an older esblend are not used."""
_SMOOTH_QUANT_ALPHA = 0.7
"""How much of the activations' outliers moves into the weights (Xiao et al., ICML 2023). With MiniLM, the smallest cosine to full
precision over scifact's 10,472 passages was 0.947 with NNCF's default of 0.95; with 0.7 the 300 worst of those reached 0.99."""
_QUALITY = "quality.json"
_LAST_LINES = 5
_SAME_COSINE = 0.9999
_COMPARED_LENGTHS = (300, 3, 17, 40)
"""In word pieces; the first is longer than the windows of models with local attention."""
_COMPARED_PIECES = 250


def exported_model(folder: ModelFolder, digest: str, precision: Precision) -> Path:
    """The file of the exported model; exports it first if needed. Raises ModelError when the model cannot be exported."""
    target = export_folder(folder, digest, precision)
    model = target / "model.xml"
    if model.is_file():
        return model
    needed = ("torch", "transformers", *(["nncf"] if precision == "fast" else []))
    require(*needed, purpose=f"model [{folder.name}] is not in {target} yet. The export to OpenVINO")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_suffix(".lock")):
            if not model.is_file():
                _export_in_process(folder, precision, target)
    except OSError as error:
        raise ModelError(
            f"model [{folder.name}] cannot be exported to {target}: {error}; name a writable folder in ESBLEND_CACHE_DIR"
        ) from error
    return model


def export_folder(folder: ModelFolder, digest: str, precision: Precision) -> Path:
    """Where the export of a model is kept."""
    name = "-".join(filter(None, (precision, str(_RECIPE), folder.route)))
    return cache_dir() / "models" / digest[:32] / name


def _export_in_process(folder: ModelFolder, precision: Precision, target: Path) -> None:
    log.info("exporting the model to OpenVINO", model=folder.name, precision=precision)
    began = time.monotonic()
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    command = [sys.executable, "-m", __name__, str(folder.path), precision, str(partial), folder.route]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        shutil.rmtree(partial, ignore_errors=True)
        last = " ".join(done.stderr.strip().splitlines()[-_LAST_LINES:])
        raise ModelError(f"model [{folder.name}] cannot be exported to OpenVINO: {last[-500:]}")
    partial.rename(target)
    seconds = round(time.monotonic() - began)
    quality = read_quality(target)
    log.info(
        "model exported to OpenVINO",
        model=folder.name,
        precision=precision,
        seconds=seconds,
        **({"quality": quality} if quality else {}),
    )


def export(folder: ModelFolder, precision: Precision, target: Path) -> None:
    """Write `model.xml` and its weights into `target`. Imports PyTorch, OpenVINO and, for `fast`, NNCF.

    Raises ModelError when OpenVINO cannot convert the model, or when the result does not give the vectors of the PyTorch model.
    """
    import torch

    from esblend.encoder.pooled_model import PooledModel
    from esblend.encoder.silent_openvino import openvino

    source = PooledModel(folder).eval()
    example = torch.ones((2, 16), dtype=torch.long)
    with torch.inference_mode(False), torch.no_grad():
        inputs = {"input_ids": example, "attention_mask": example}
        try:
            model = openvino.convert_model(source, example_input=inputs)
        except Exception as error:  # whatever a model's own code raises when it is traced
            raise ModelError(f"OpenVINO cannot convert this model: {_first_cause(error)}") from error
    for entry in model.inputs:
        entry.get_node().set_partial_shape(openvino.PartialShape([-1, -1]))
    model.validate_nodes_and_infer_types()
    _compare(source, model, folder)
    if precision == "fast":
        ids = _compared_ids(folder)
        expected = _vectors(model, ids)
        model = _quantize(model, folder)
        write_quality(target, _smallest_cosine(expected, _vectors(model, ids)), len(ids))
    openvino.save_model(model, target / "model.xml", compress_to_fp16=False)


def _first_cause(error: BaseException) -> str:
    """OpenVINO wraps the error that says what happened in general advice."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__ or error
    return f"{type(error).__name__}: {error}".partition("\n")[0][:200]


def _compare(source: Any, model: Any, folder: ModelFolder) -> None:
    """Compare both on shapes other than the example's: a trace can freeze masks and positions that depend on the input."""
    import numpy as np
    import torch

    from esblend.encoder.silent_openvino import openvino

    width = min(max(_COMPARED_LENGTHS), folder.max_tokens)
    tokens = np.zeros((len(_COMPARED_LENGTHS), width), dtype=np.int64)
    mask = np.zeros_like(tokens)
    for row, length in enumerate(_COMPARED_LENGTHS):
        tokens[row, :length] = np.arange(min(length, width)) % _COMPARED_PIECES + 1
        mask[row, :length] = 1
    with torch.no_grad():
        expected = source(torch.from_numpy(tokens), torch.from_numpy(mask)).numpy()
        lengths = mask.sum(axis=1)
        rows = [
            [torch.from_numpy(array[row : row + 1, :length]) for array in (tokens, mask)]
            for row, length in enumerate(lengths)
        ]
        alone = np.concatenate([source(*row).numpy() for row in rows])
    if not (cosine := _smallest_cosine(expected, alone)) >= _SAME_COSINE:
        raise ModelError(f"padding changes the vectors of this model (smallest cosine {cosine:.4f})")
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    if not (cosine := _smallest_cosine(expected, compiled([tokens, mask])[0])) >= _SAME_COSINE:
        raise ModelError(
            f"the export gives other vectors than PyTorch (smallest cosine {cosine:.4f}), so it is not used"
        )


def _smallest_cosine(expected: Any, vectors: Any) -> float:
    import numpy as np

    lengths = np.linalg.norm(expected, axis=1) * np.linalg.norm(vectors, axis=1)
    return float(((expected * vectors).sum(axis=1) / lengths).min())


def _compared_ids(folder: ModelFolder) -> list[list[int]]:
    from esblend.encoder.tokenizer import load_tokenizer

    return load_tokenizer(folder).ids(comparison_texts())


def _vectors(model: Any, ids: Sequence[Sequence[int]]) -> Any:
    """By OpenVINO, each text alone: (len(ids), width)."""
    import numpy as np

    from esblend.encoder.silent_openvino import openvino

    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    rows = []
    for pieces in ids:
        tokens = np.array([pieces], dtype=np.int64)
        rows.append(compiled([tokens, np.ones_like(tokens)])[0][0].copy())
    return np.stack(rows)


def write_quality(target: Path, smallest_cosine: float, texts: int) -> None:
    """Keep beside an export in int8 how close its vectors are to those of full precision."""
    (target / _QUALITY).write_text(json.dumps({"smallest_cosine": round(smallest_cosine, 4), "texts": texts}))


def read_quality(export: Path) -> str:
    """How close the vectors of an export are to those of full precision, as a phrase. Empty in full precision, and for exports of
    an older esblend."""
    try:
        quality = json.loads((export / _QUALITY).read_text())
    except FileNotFoundError:
        return ""
    return f"int8: cosine to full precision at least {quality['smallest_cosine']} for {quality['texts']} texts"


def _quantize(model: Any, folder: ModelFolder) -> Any:
    """Weights and activations in int8, calibrated on real texts (NNCF post-training quantisation with SmoothQuant)."""
    import numpy as np

    from esblend.encoder.silent_openvino import import_nncf
    from esblend.encoder.tokenizer import load_tokenizer

    nncf = import_nncf()

    def inputs(ids: Sequence[int]) -> dict[str, Any]:
        tokens = np.array([ids], dtype=np.int64)
        return {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}

    texts = calibration_texts()
    dataset = nncf.Dataset(load_tokenizer(folder).ids(texts), inputs)
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


def main(arguments: Sequence[str]) -> None:
    """`python -m esblend.encoder.openvino_export FOLDER PRECISION TARGET ROUTE`; ROUTE is empty without a Router."""
    path, precision, target, route = arguments
    if precision not in get_args(Precision):
        raise SystemExit(f"unknown precision: {precision}")
    folder = read_folder(Path(path), path)
    if route == "query" and folder.queries is not None:
        folder = folder.queries
    try:
        export(folder, "fast" if precision == "fast" else "exact", Path(target))
    except ModelError as error:
        raise SystemExit(error.reason) from error


if __name__ == "__main__":
    main(sys.argv[1:])
