"""How many float32 operations a second the machine computes in matrix products, and how many a model needs.

Encoders are compared with this rate: no library computes a model in float32 faster than its matrix products alone.
"""

import json
import statistics
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from esblend.encoder.folder import find_model
from esblend.encoder.silent_openvino import openvino
from esblend.encoder.threads import available_threads

LARGE = (2048, 2048, 2048)
"""(rows, depth, columns) of a product that is large for any library."""
_ROWS = 1024
"""Word pieces of one batch, as a worker with two threads cuts them."""
_REPEATS = 8
_AHEAD = 2
_NOT_IN_LAYERS = ("embeddings", "pooler", "relative_attention_bias")


@dataclass(frozen=True)
class Work:
    """The matrix products of a transformer."""

    products: list[tuple[int, int]]
    """(depth, columns) of each product of all word pieces with a matrix of weights."""
    layers: int
    width: int

    def operations(self, lengths: Sequence[int]) -> float:
        """Multiplications and additions for texts of so many word pieces. Each layer multiplies queries with keys, and the result
        with values: 2 x 2 x length^2 x width."""
        weights = sum(depth * columns for depth, columns in self.products)
        return float(sum(2 * weights * length + 4 * self.layers * self.width * length**2 for length in lengths))


def work_of(path: str) -> Work:
    """Read from the shapes of a model's weights. Embeddings are looked up, not multiplied; the pooler is not used."""
    folder = find_model(path).input_path
    config = json.loads((folder / "config.json").read_text("utf-8"))
    with (folder / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    shapes = {name: tensor["shape"] for name, tensor in header.items() if name != "__metadata__"}
    products = [
        (shape[1], shape[0])
        for name, shape in shapes.items()
        if len(shape) == 2 and not any(part in name for part in _NOT_IN_LAYERS)
    ]
    return Work(
        products,
        int(config.get("num_hidden_layers") or config["n_layers"]),
        int(config.get("hidden_size") or config["dim"]),
    )


class Products:
    """One product with constant weights by OpenVINO (oneDNN), on as many streams as the encoder uses."""

    def __init__(self, rows: int, depth: int, columns: int) -> None:
        operators: Any = openvino.opset15
        random = np.random.default_rng(11)
        given = operators.parameter([rows, depth], np.float32)
        weights = operators.constant(random.standard_normal((depth, columns), dtype=np.float32))
        model = openvino.Model([operators.matmul(given, weights, False, False)], [given], "product")
        threads = available_threads()
        properties = {
            "NUM_STREAMS": str(threads),
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,
        }
        self._queue = openvino.AsyncInferQueue(
            openvino.Core().compile_model(model, "CPU", properties), _AHEAD * threads
        )
        self._given = random.standard_normal((rows, depth), dtype=np.float32)
        self.operations = 2 * rows * depth * columns
        self._count = _REPEATS * threads
        self.rate()  # a warm-up

    def rate(self) -> float:
        """Operations a second."""
        began = time.perf_counter()
        for _ in range(self._count):
            self._queue.start_async([self._given], share_inputs=True)
        self._queue.wait_all()
        return self.operations * self._count / (time.perf_counter() - began)


class Peak:
    """The machine's rate for one large product, and for the products of a model."""

    def __init__(self, work: Work) -> None:
        self._large = Products(*LARGE)
        self._own = {shape: Products(_ROWS, *shape) for shape in set(work.products)}
        self._work = work
        self._rates: list[tuple[float, float]] = []

    def measure(self) -> None:
        """One round. The model's rate is that of its products one after the other."""
        rates = {shape: product.rate() for shape, product in self._own.items()}
        sizes = [depth * columns for depth, columns in self._work.products]
        seconds = [size / rates[shape] for size, shape in zip(sizes, self._work.products, strict=True)]
        self._rates.append((self._large.rate(), sum(sizes) / sum(seconds)))

    @property
    def large(self) -> float:
        return statistics.median(large for large, _ in self._rates)

    @property
    def own(self) -> float:
        return statistics.median(own for _, own in self._rates)
