"""A real worker whose encoder fails on marked texts. The tests run it as a separate process."""

import os
import signal
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from esblend.encoder.encoder import Encoder, unit_vectors
from esblend.encoder.model import AS_IS, Form
from esblend.settings import Settings
from workers.worker import run_worker

_encode = Encoder.encode_documents


def _poisoned(self: Encoder, texts: Sequence[str], form: Form = AS_IS) -> NDArray[np.float32]:
    together = " ".join(texts)
    if "KILLS-THE-PROCESS" in together:
        os.kill(os.getpid(), signal.SIGKILL)
    if "RAISES" in together:
        raise RuntimeError("injected")
    vectors = _encode(self, texts, form)
    for word, value in (("GIVES-NAN", np.nan), ("GIVES-ZERO", 0.0), ("GIVES-INFINITY", np.inf)):
        if word in together:
            spoilt = vectors.copy()
            spoilt[[word in text for text in texts]] = value
            return unit_vectors(spoilt)
    return vectors


Encoder.encode_documents = _poisoned  # type: ignore[method-assign]

if __name__ == "__main__":
    run_worker(Settings())
