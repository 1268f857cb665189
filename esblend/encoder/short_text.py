"""One short text on a copy of an OpenVINO model whose input has a fixed shape.

A model for inputs of any shape derives the shapes of its 150 nodes again in each run. For one query this takes a fifth of the time.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esblend.encoder.silent_openvino import openvino

SHORT = 16
"""Word pieces, special tokens included: most queries have fewer. Shorter texts are padded to so many."""


class ShortTextModel:
    """Thread-safe. Keeps the weights once more in memory."""

    def __init__(self, path: Path, properties: dict[str, Any]) -> None:
        """Raises RuntimeError when OpenVINO cannot compile the model for one shape."""
        core = openvino.Core()
        model = core.read_model(str(path))
        model.reshape({number: [1, SHORT] for number in range(len(model.inputs))})
        self._request = core.compile_model(model, "CPU", properties).create_infer_request()
        self._lock = threading.Lock()

    def embed(self, pieces: Sequence[int]) -> NDArray[np.float32]:
        """The vector of a text of at most SHORT word pieces: (1, width). Computes in the caller's thread and its helpers."""
        tokens, mask = np.zeros((1, SHORT), dtype=np.int64), np.zeros((1, SHORT), dtype=np.int64)
        tokens[0, : len(pieces)] = pieces
        mask[0, : len(pieces)] = 1
        with self._lock:
            found = self._request.infer([tokens, mask], share_inputs=True, share_outputs=True)[0]
            return np.array(found, dtype=np.float32)
