"""A real worker whose device is broken: every forward pass fails. Run by the tests as a separate process."""

from collections.abc import Sequence
from typing import Any

from esblend.encoder.encoder import Encoder
from esblend.settings import Settings
from workers.worker import run_worker


def _broken(self: Encoder, texts: Sequence[str], *_: Any) -> Any:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


Encoder.encode_documents = _broken  # type: ignore[method-assign]
Encoder.encode_query = _broken  # type: ignore[method-assign]

if __name__ == "__main__":
    run_worker(Settings())
