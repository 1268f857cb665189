"""Several models in one process, called from several threads at once, do not disturb each other."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from esblend.encoder.encoder import EncoderOptions, load_encoder
from tests.unit.esblend.encoder.parity import TEXTS
from tests.unit.esblend.encoder.tiny_models import write_model

CALLS = 120


def test_two_packed_models_in_four_threads_give_the_vectors_that_each_gives_alone(tmp_path: Path) -> None:
    options = EncoderOptions(backend="torch", threads=1)
    encoders = [load_encoder(str(write_model(tmp_path / name, name)), options) for name in ("BERT", "DistilBERT")]
    assert all("detail" not in encoder.describe() for encoder in encoders), "both are packed"
    parts = [[TEXTS[(first + number) % len(TEXTS)] for number in range(1 + first % 7)] for first in range(CALLS)]
    alone = [encoders[number % 2].encode_documents(part) for number, part in enumerate(parts)]
    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(encoders[number % 2].encode_documents, part) for number, part in enumerate(parts)]
        wrong = 0
        for call, expected in zip(calls, alone, strict=True):
            try:
                wrong += not np.allclose(call.result(), expected, atol=1e-5)
            except RuntimeError:
                wrong += 1
    assert wrong == 0
