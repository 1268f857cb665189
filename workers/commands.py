"""`esblend worker`."""

import typer

from esblend.cli.gateway_client import stating_errors

app = typer.Typer()


@app.command()
def worker() -> None:
    """Run a worker: it takes tasks from the queue and writes vectors to Elasticsearch."""
    from esblend.settings import Settings
    from workers.worker import run_worker

    with stating_errors():
        run_worker(Settings())
