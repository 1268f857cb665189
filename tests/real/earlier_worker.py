"""A worker that knows only documents by id, as before version 2 of the messages, and pushes no reports."""

import workers.worker
from esblend.settings import Settings
from workers.reports import Reports

if __name__ == "__main__":
    workers.worker.RANGE_FORMAT = None  # type: ignore[assignment]
    workers.worker.reports_of = lambda redis, task, headers: Reports(redis, None, task)
    workers.worker.run_worker(Settings())
