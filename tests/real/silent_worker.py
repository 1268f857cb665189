"""A worker that pushes no reports, as before the feed waited for them: its results are only in Celery."""

import workers.worker
from esblend.settings import Settings
from workers.reports import Reports

if __name__ == "__main__":
    workers.worker.reports_of = lambda redis, task, headers: Reports(redis, None, task)
    workers.worker.run_worker(Settings())
