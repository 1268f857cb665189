"""What computes: one interface over the runtimes, and the choice among them."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from esblend.encoder.extras import require
from esblend.encoder.folder import ModelFolder
from esblend.errors import ModelError

log = structlog.get_logger()
Precision = Literal["exact", "fast"]
BackendName = Literal["auto", "torch", "openvino"]
Use = Literal["documents", "queries"]
"""Many texts at a time, or one as quickly as possible."""


class Backend(Protocol):
    """A transformer with its pooling and dense layers, not normalised."""

    name: str

    def embed(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Vectors of any number of word-piece id lists (none empty): (len(ids), width), float32, in the order given."""
        ...


def load_backend(
    folder: ModelFolder,
    *,
    digest: str,
    choice: BackendName,
    precision: Precision,
    use: Use,
    threads: int,
    token_budget: int,
) -> Backend:
    """The backend asked for; by `auto` PyTorch where there is a GPU, else OpenVINO where it is installed, else PyTorch.

    Raises ModelError when the model cannot be loaded, or when the backend cannot do the precision.
    """
    # PyTorch and OpenVINO each take seconds to import: only the one in use is.
    if choice == "openvino" or (choice == "auto" and find_spec("openvino") and not has_gpu()):
        try:
            require("openvino", purpose=f"model [{folder.name}] on the backend [openvino]")
            from esblend.encoder.openvino_backend import OpenVinoModel

            return OpenVinoModel(
                folder, digest=digest, precision=precision, use=use, threads=threads, token_budget=token_budget
            )
        except ModelError as error:
            if choice == "openvino" or precision == "fast":
                raise
            if find_spec("torch") is None:
                raise
            log.warning("OpenVINO cannot run this model, PyTorch does", model=folder.name, reason=error.reason)
    require("torch", "transformers", purpose=f"model [{folder.name}] on the backend [torch]")
    from esblend.encoder.torch_backend import TorchModel

    return TorchModel(folder, precision=precision, threads=threads, token_budget=token_budget)


def has_gpu() -> bool:
    """Whether an NVIDIA GPU is visible, told without importing PyTorch."""
    return any(Path("/dev").glob("nvidia[0-9]*"))
