"""A worker that knows only documents by id, as before version 2 of the messages."""

import workers.worker
from esblend.settings import Settings

if __name__ == "__main__":
    workers.worker.RANGE_FORMAT = None  # type: ignore[assignment]
    workers.worker.run_worker(Settings())
