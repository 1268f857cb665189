"""A real worker that hangs within a task, as in a deadlock of native code; with a liveness limit of a few seconds."""

import os
import threading
from collections.abc import Sequence
from typing import Any

from esblend.encoder.encoder import Encoder
from esblend.settings import Settings
from workers import liveness
from workers.worker import run_worker


def _stuck(self: Encoder, texts: Sequence[str], *_: Any) -> Any:
    threading.Event().wait()


if __name__ == "__main__":
    if os.environ.get("STUCK_IN_TASK"):
        Encoder.encode_documents = _stuck  # type: ignore[method-assign]
    liveness.PARENT_STUCK_SECONDS = 5.0
    run_worker(Settings())
