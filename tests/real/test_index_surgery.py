"""Random writers, index operations and kills for a minute; then every vector is recomputed independently."""

import os
import random

import pytest

from bench.surgery import Theatre, run
from tests.conftest import Stack


def test_every_vector_is_right_after_a_minute_of_index_surgery(
    fault_stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in fault_stack.environment.items():  # of the processes that it starts again
        monkeypatch.setenv(name, value)
    seed = int(os.environ.get("SURGERY_SEED", "17"))
    theatre = Theatre(
        fault_stack.es, fault_stack.gateway, fault_stack.described["redis"], fault_stack.data_dir, random.Random(seed)
    )
    try:
        faults = run(theatre, float(os.environ.get("SURGERY_SECONDS", "60")))
    finally:
        for index in theatre.indices:
            fault_stack.es.indices.delete(index=index, ignore_unavailable=True)
    assert not faults, f"seed {seed}, {dict(theatre.counts)}: {faults[:20]}"
    assert theatre.counts["writes"] > 100
    assert theatre.counts["vectors compared"] > 50
