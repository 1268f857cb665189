"""A real worker whose model takes longer to load than Celery's default allows; run by the tests as a separate process."""

import time

from esblend.encoder.encoder import Encoder
from esblend.encoder.registry import Encoders
from esblend.settings import Settings
from workers.worker import run_worker

LOAD_SECONDS = 7
_load = Encoders.load


def _slow(self: Encoders, name: str) -> Encoder:
    time.sleep(LOAD_SECONDS)
    return _load(self, name)


Encoders.load = _slow  # type: ignore[method-assign]

if __name__ == "__main__":
    run_worker(Settings())
