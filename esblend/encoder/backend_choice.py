"""Chooses the backend of a model, and a fallback if the preferred backend cannot run the model.

auto:  GPU ? torch : openvino (as asked) -> openvino exact -> torch exact
"""

from importlib.util import find_spec
from pathlib import Path

import structlog

from esblend.encoder.backend import Backend, BackendName, Precision, Use
from esblend.encoder.model_folder import ModelFolder
from esblend.errors import ModelError
from esblend.extras import require

log = structlog.get_logger()


def load_backend(
    folder: ModelFolder,
    *,
    digest: str,
    choice: BackendName,
    precision: Precision,
    use: Use,
    threads: int,
    token_budget: int | None,
) -> Backend:
    """Load the model on the backend that `choice` names.

    `auto` is PyTorch where a GPU is visible or OpenVINO is not installed, else OpenVINO. If OpenVINO cannot run the model in the
    requested precision, `auto` continues with the next entry of the list above, and the backend's `detail` gives the reason.
    Raises ModelError when the model cannot be loaded, or when the named backend does not support the model or the precision.
    """

    # PyTorch and OpenVINO take seconds to import, so each is imported only when it is used.
    def torch_backend(precision: Precision) -> Backend:
        require("torch", "transformers", purpose=f"model [{folder.name}] on the backend [torch]")
        from esblend.encoder.torch_backend import TorchModel

        return TorchModel(folder, precision=precision, threads=threads, token_budget=token_budget)

    def openvino_backend(precision: Precision) -> Backend:
        require("openvino", purpose=f"model [{folder.name}] on the backend [openvino]")
        from esblend.encoder.openvino_backend import OpenVinoModel

        return OpenVinoModel(
            folder, digest=digest, precision=precision, use=use, threads=threads, token_budget=token_budget
        )

    if choice == "openvino":
        return openvino_backend(precision)
    if choice == "torch" or has_gpu() or not find_spec("openvino"):
        return torch_backend(precision)
    reasons = []
    for attempt in dict.fromkeys((precision, "exact")):
        try:
            backend = openvino_backend(attempt)
        except ModelError as error:
            if not find_spec("torch"):
                raise
            log.warning("OpenVINO cannot run the model", model=folder.name, precision=attempt, reason=error.reason)
            reasons.append(f"OpenVINO cannot run this model in precision [{attempt}]: {error.reason}")
        else:
            return _with_reasons(backend, reasons)
    return _with_reasons(torch_backend("exact"), reasons)


def _with_reasons(backend: Backend, reasons: list[str]) -> Backend:
    backend.detail = "; ".join([*reasons, *([backend.detail] if backend.detail else [])])
    return backend


def has_gpu() -> bool:
    """Whether an NVIDIA GPU is visible. Looks at device files, so that PyTorch need not be imported."""
    return any(Path("/dev").glob("nvidia[0-9]*"))
