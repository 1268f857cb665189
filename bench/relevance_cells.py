"""What one cell of the relevance measurement computes: systems side by side, the default by encoder, and a trained model."""

import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.stack import BenchStack
from mappings.attachment import Attachment
from query.lab.batch_searches import run_system
from query.lab.blend_arrays import Blend
from query.lab.candidates import fetch_candidates
from query.lab.evaluation import Evaluation, evaluate, unjudged_share
from query.lab.judgements import Judged, read_beir
from query.lab.measures import MAIN, MEASURES, compare, mean_of, per_query
from query.lab.systems import System, hybrid, standard_systems
from query.lab.training import Options, held_back, mine, train
from query.lab.tuning import WINDOWS, Settings, as_defaults, describe, field_choices, tune

FIELDS = ("title", "text")
BASES = ("BM25", "kNN", "RRF")


def default_against_others(stack: BenchStack, index: str, folder: Path) -> dict[str, str]:
    """A row: the default blend, its legs, rrf and the former default, each with its share of unjudged hits."""
    judged = read_beir(folder, "test")
    systems = [
        hybrid("BM25", alpha=0),
        hybrid("kNN", alpha=1),
        hybrid("RRF", fusion="rrf"),
        hybrid("former default", normalizer="raw_dot", alpha=0.7),
        hybrid("default"),
    ]
    runs = {system.name: run_system(stack.gateway, index, system, judged) for system in systems}
    values = {name: per_query(run, judged, [MAIN])[MAIN] for name, run in runs.items()}
    row = {
        name: f"{mean_of(values[name]).mean:.4f} ({100 * unjudged_share(run, judged):.0f})"
        for name, run in runs.items()
    }
    return {**row, **{f"p to {base}": _p(compare(values, base), "default") for base in BASES}}


def systems(stack: BenchStack, index: str, folder: Path) -> list[dict[str, Any]]:
    """Rows of one collection; with the settings tuned on its train split where it has one."""
    judged = read_beir(folder, "test")
    compared = standard_systems()
    if (folder / "qrels" / "train.tsv").is_file():
        compared.append(_tuned(stack, index, read_beir(folder, "train")))
    found = evaluate(stack.gateway, index, judged, compared)
    print(f"{folder.name}: {len(judged.queries)} queries x {len(compared)} systems in {found.seconds:.1f} s")
    return _rows(folder.name, found, [system.name for system in compared])


def _tuned(stack: BenchStack, index: str, judged: Judged) -> System:
    choices = [FIELDS, *field_choices(FIELDS)[1:]]
    candidates = {
        names: fetch_candidates(stack.gateway, index, judged, max(WINDOWS), {"fields": list(names)})
        for names in choices
    }
    advice = tune(candidates, judged, Settings(FIELDS, Blend()))
    print(describe(advice))
    return hybrid("linear exact, tuned on train", **as_defaults(advice.settings))


def _rows(collection: str, found: Evaluation, names: Sequence[str]) -> list[dict[str, Any]]:
    """A row a system, with the p-values of its difference to BM25, to kNN and to RRF."""
    values = {name: found.systems[name].values[MAIN] for name in names}
    against = {base: compare(values, base) for base in BASES}
    return [
        {
            "collection": collection,
            "system": name,
            **{measure: f"{found.systems[name].means[measure].mean:.4f}" for measure in MEASURES},
            "unjudged@10": f"{found.systems[name].unjudged:.2f}",
            **{f"p to {base}": _p(differences, name) for base, differences in against.items()},
            "p50 ms": f"{found.systems[name].latency[0]:.1f}",
        }
        for name in names
    ]


def _p(differences: Mapping[str, Any], name: str) -> str:
    if name not in differences:
        return ""
    one = differences[name]
    return f"{'+' if one.gain.mean > 0 else '-'} {'<0.001' if one.p_value < 0.001 else f'{one.p_value:.3f}'}"


def trained(stack: BenchStack, index: str, folder: Path) -> list[dict[str, Any]]:
    """kNN and the blend by the packaged model, and by the same fine-tuned on the train split, both on the test split."""
    judged, test = read_beir(folder, "train"), read_beir(folder, "test")
    path = f"/_esblend/indices/{index}"
    attachment = Attachment.model_validate(stack.call("GET", path)["attachment"])
    ids = sorted(judged.queries)
    random.Random(0).shuffle(ids)
    cut = round(len(ids) * 0.15)
    pairs = mine(stack.gateway, index, attachment, judged.only(ids[cut:]), seed=0)
    held = held_back(stack.gateway, index, attachment, judged.only(ids[:cut]), documents=1000, seed=0)
    with tempfile.TemporaryDirectory() as output:
        done = train("minilm", [("scifact/train", 1.0, pairs)], held, Path(output), Options(epochs=2))
        print(done)
        stack.call("POST", f"{path}/generations", {"model": done["model"]})
        while stack.call("GET", f"{path}/generations")["generations"]["g2"]["missing"]:
            time.sleep(1)
        compared = [
            hybrid(f"{what}, {model}", generation=generation, **options)
            for generation, model in (("g1", "MiniLM"), ("g2", "trained"))
            for what, options in (("kNN", {"alpha": 1}), ("linear exact", {}))
        ]
        found = evaluate(stack.gateway, index, test, [standard_systems()[0], *compared])
    return [_trained_row(what, found, f"{done['before']} to {done['after']}") for what in ("kNN", "linear exact")]


def _trained_row(what: str, found: Evaluation, held_back_values: str) -> dict[str, Any]:
    values = {one: found.systems[f"{what}, {one}"].values[MAIN] for one in ("MiniLM", "trained")}
    difference = compare(values, "MiniLM")["trained"]
    return {
        "system": what,
        **{f"{MAIN} {one}": f"{mean_of(values[one]).mean:.4f}" for one in values},
        "gain": f"{difference.gain.mean:+.4f}",
        "interval": f"{difference.gain.low:+.4f} to {difference.gain.high:+.4f}",
        "p": f"{difference.p_value:.4f}",
        "held back": held_back_values,
    }
