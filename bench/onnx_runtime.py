"""ONNX Runtime, as fastembed and infinity-emb run a model: an export to ONNX, the runtime's optimisations, batches, mean pooling.

    PyTorch module -> model.onnx -> optimized.onnx (fused attention, GELU, layer norm) -> int8.onnx (dynamic quantisation)

fastembed runs `model.onnx` with all graph optimisations of the session, in batches of 256 in the order given. infinity-emb first
applies `onnxruntime.transformers`, prefers int8 on CPUs, and sorts by length into batches of 32.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from esblend.cache import cache_dir
from esblend.encoder.folder import find_model
from esblend.encoder.threads import available_threads
from esblend.encoder.tokenizer import load_tokenizer

Graph = Literal["model", "optimized", "int8"]
_OPSET = 17


class OnnxRuntimeModel:
    """One graph of a model with mean pooling. `batch`: texts in one run."""

    def __init__(self, path: str, graph: Graph, *, batch: int, is_sorted: bool) -> None:
        import onnxruntime

        folder = find_model(path)
        self._tokenizer = load_tokenizer(folder)
        self._batch, self._is_sorted = batch, is_sorted
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = options.inter_op_num_threads = available_threads()
        file = exported(path, folder.digest()) / f"{graph}.onnx"
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, (len(texts), width), in the order given."""
        ids = self._tokenizer.ids(texts)
        order = (
            sorted(range(len(ids)), key=lambda position: -len(ids[position])) if self._is_sorted else range(len(ids))
        )
        rows: list[Any] = [None] * len(ids)
        for start in range(0, len(ids), self._batch):
            batch = order[start : start + self._batch]
            for position, vector in zip(batch, self._vectors([ids[position] for position in batch]), strict=True):
                rows[position] = vector
        return np.stack(rows)

    def _vectors(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        tokens = np.zeros((len(ids), max(map(len, ids))), dtype=np.int64)
        mask = np.zeros_like(tokens)
        for row, pieces in enumerate(ids):
            tokens[row, : len(pieces)] = pieces
            mask[row, : len(pieces)] = 1
        [hidden] = self._session.run(None, {"input_ids": tokens, "attention_mask": mask})
        weights = mask.astype(np.float32)
        sums = np.matmul(weights[:, None, :], hidden)[:, 0] / weights.sum(axis=1, keepdims=True)
        vectors: NDArray[np.float32] = sums / np.linalg.norm(sums, axis=1, keepdims=True)
        return vectors


def exported(path: str, digest: str) -> Path:
    """The folder with the three graphs of a model; made at first use."""
    target = cache_dir() / "bench" / "onnx" / digest[:32]
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_suffix(".lock")):
        if not target.is_dir():
            partial = target.with_suffix(".partial")
            partial.mkdir(exist_ok=True)
            _export(path, partial)
            partial.rename(target)
    return target


def _export(path: str, target: Path) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers.optimizer import optimize_model

    config = _export_graph(path, target / "model.onnx")
    heads, width = config.num_attention_heads, config.hidden_size
    optimized = optimize_model(
        str(target / "model.onnx"), model_type="bert", num_heads=heads, hidden_size=width, opt_level=1
    )
    fused = {name: count for name, count in optimized.get_fused_operator_statistics().items() if count}
    print(f"ONNX Runtime fuses {fused}")
    optimized.save_model_to_file(str(target / "optimized.onnx"))
    # The fused nodes are ONNX Runtime's own, so the shapes and types behind them are not inferred.
    options = {"DefaultTensorType": onnx.TensorProto.FLOAT}
    quantize_dynamic(
        target / "optimized.onnx", target / "int8.onnx", weight_type=QuantType.QInt8, extra_options=options
    )


def _export_graph(path: str, file: Path) -> Any:
    """Write the transformer alone; gives its configuration. Attention is written out, for this is the pattern that ONNX Runtime
    fuses; the newer exporter of PyTorch gives another one."""
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(path, attn_implementation="eager").eval().requires_grad_(False)

    class HiddenStates(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            hidden: torch.Tensor = model(input_ids, attention_mask=attention_mask).last_hidden_state
            return hidden

    axes = {0: "texts", 1: "pieces"}
    example = torch.ones((2, 16), dtype=torch.long)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            HiddenStates(),
            (example, example),
            str(file),
            dynamo=False,
            opset_version=_OPSET,
            input_names=["input_ids", "attention_mask"],
            output_names=["last_hidden_state"],
            dynamic_axes={"input_ids": axes, "attention_mask": axes, "last_hidden_state": axes},
        )
    return model.config
