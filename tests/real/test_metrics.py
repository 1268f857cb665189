"""Feed and worker serve metrics."""

from pathlib import Path
from urllib.request import urlopen

from esblend.local.ports import FreePorts
from tests.conftest import Stack
from tests.real.faults import kill, process, revive, wait_for


def read(url: str) -> dict[str, float]:
    """Value by name and labels."""
    with urlopen(url) as answer:
        lines = answer.read().decode().splitlines()
    return {key: float(value) for line in lines if not line.startswith("#") for key, _, value in [line.rpartition(" ")]}


def test_feed_and_worker(fault_stack: Stack, index_name: str, tmp_path: Path) -> None:
    stack = fault_stack
    stack.es.indices.create(index=index_name, mappings={"properties": {"body": {"type": "text"}}})
    with FreePorts() as ports:
        of_feed, of_worker = ports.choose(0), ports.choose(0)
    kill(stack, "feed", "worker")
    try:
        with (
            process(stack, "esblend", "worker", place=tmp_path, ESBLEND_METRICS_PORT=str(of_worker)),
            process(stack, "esblend", "feed", place=tmp_path, ESBLEND_METRICS_PORT=str(of_feed)),
        ):
            stack.attach(index_name, "body")
            for n in range(3):
                stack.es.index(index=index_name, id=str(n), document={"body": f"text number {n}"}, refresh=True)
            stack.wait(index_name)

            def worked() -> bool:
                """The worker counts after its writes, which are seen before."""
                worker = read(f"http://127.0.0.1:{of_worker}/metrics")
                hits = worker.get('esblend_embedding_cache_texts_total{outcome="hit"}', 0)
                return (
                    worker.get('esblend_documents_total{outcome="written"}', 0) >= 3
                    and worker["esblend_passages_total"] + hits >= 3
                    and worker.get('esblend_bulk_items_total{status="200"}', 0) >= 3
                )

            wait_for("the worker's counts", worked, shows=lambda: read(f"http://127.0.0.1:{of_worker}/metrics"))
            labels = f'{{generation="g1",index="{index_name}"}}'

            def covered() -> bool:
                feed = read(f"http://127.0.0.1:{of_feed}/metrics")
                coverage = feed.get(f'esblend_coverage_ratio{{index="{index_name}"}}')
                return coverage == 1.0 and feed[f"esblend_lag_seconds{labels}"] == 0.0

            wait_for("coverage 1 and no lag", covered)
            stack.call("DELETE", f"/_esblend/indices/{index_name}")
            wait_for(
                "the gauges of an index that is detached to go",
                lambda: f"esblend_lag_seconds{labels}" not in read(f"http://127.0.0.1:{of_feed}/metrics"),
            )
    finally:
        revive(stack)
        stack.es.indices.delete(index=index_name)
