"""A migration under reads and writes: nDCG@10 of the live index, measured every second, compared with each model alone."""

import json
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from elasticsearch import ApiError

from bench.report import write
from bench.stack import BenchStack, bench_stack
from esblend.encoder.folder import find_model
from query.lab.batch_searches import run_system
from query.lab.judgements import Judged, read_beir
from query.lab.measures import MAIN, mean_of, per_query
from query.lab.scratch_index import scratch_index
from query.lab.systems import hybrid
from tests.collections import find_collection

COLLECTION, QUERIES = "scifact", 30


def main() -> None:
    folder = find_collection(COLLECTION)
    if folder is None:
        raise SystemExit(f"this measurement needs the collection {COLLECTION} (ESBLEND_TEST_DATA)")
    judged = read_beir(folder, "test")
    judged = judged.only(list(judged.queries)[:QUERIES])
    with (
        bench_stack() as stack,
        tempfile.TemporaryDirectory() as place,
        scratch_index(stack.gateway, folder, lambda *_: None, keep_as=COLLECTION),
    ):
        write("migration", *_measure(stack, judged, _other_model(Path(place))))


def _other_model(place: Path) -> str:
    """The packaged model with first-token pooling, for which it was not trained: different and worse vectors."""
    folder = Path(shutil.copytree(find_model("minilm").path, place / "other"))
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    return str(folder)


def _measure(stack: BenchStack, judged: Judged, model: str) -> tuple[str, str, list[dict[str, Any]]]:
    path = f"/_esblend/indices/{COLLECTION}/generations"
    stop = threading.Event()
    writes = 0

    def write_on() -> None:
        nonlocal writes
        ids = [hit["_id"] for hit in stack.es.search(index=COLLECTION, size=200, source=False)["hits"]["hits"]]
        while not stop.wait(0.1):
            try:
                stack.es.update(index=COLLECTION, id=ids[writes % len(ids)], doc={"note": str(writes)})
            except ApiError:
                continue  # the worker wrote at the same time
            writes += 1

    writer = threading.Thread(target=write_on)
    writer.start()
    live: list[float] = []
    failed = 0
    began = time.monotonic()
    stack.call("POST", path, {"model": model})
    switched = 0.0
    try:
        while not switched or time.monotonic() - switched < 10:
            second = time.monotonic()
            try:
                live.append(_ndcg(stack, judged))
            except Exception:  # any error that a caller would see
                failed += 1
            if not switched and not stack.call("GET", path)["generations"]["g2"]["missing"]:
                stack.call("POST", f"{path}/g2/_activate")
                switched = time.monotonic()
            time.sleep(max(0.0, 1 - (time.monotonic() - second)))
    finally:
        stop.set()
        writer.join()
    alone = {name: _ndcg(stack, judged, generation=name) for name in ("g1", "g2")}
    worse = min(alone.values())
    rows = [
        {"what": "the old model alone", "value": round(alone["g1"], 4)},
        {"what": "the new model alone", "value": round(alone["g2"], 4)},
        {"what": "lowest of the live index", "value": round(min(live), 4)},
        {"what": "measurements, one a second", "value": len(live)},
        {"what": "below the worse model by more than 0.005", "value": sum(one < worse - 0.005 for one in live)},
        {"what": "neither the one's value nor the other's (0.005)", "value": _mixed(live, alone)},
        {"what": "failed measurements", "value": failed},
        {"what": "writes meanwhile", "value": writes},
        {"what": "seconds from the call to the switch", "value": round(switched - began, 1)},
    ]
    note = (
        f"{COLLECTION}, {len(judged.queries)} test queries a measurement, the blend; another model grows beside MiniLM "
        "while a writer updates documents, then takes over. Printed by `python -m bench migration`."
    )
    return "A migration under reads and writes", note, rows


def _mixed(live: list[float], alone: dict[str, float]) -> int:
    return sum(all(abs(one - value) > 0.005 for value in alone.values()) for one in live)


def _ndcg(stack: BenchStack, judged: Judged, **options: Any) -> float:
    run = run_system(stack.gateway, COLLECTION, hybrid("live", **options), judged)
    return mean_of(per_query(run, judged, [MAIN])[MAIN]).mean
