"""Relevance through the whole stack, by encoder, tuned and trained on train splits: writes docs/relevance.md."""

import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.anisotropic import MODERATE, STRONG, write_anisotropic_encoder
from bench.report import RESULTS, write
from bench.stack import BenchStack, bench_stack
from mappings.attachment import Attachment
from query.lab.blend_arrays import Blend
from query.lab.candidates import fetch_candidates
from query.lab.evaluation import Evaluation, evaluate
from query.lab.judged import Judged, read_beir
from query.lab.measuring import MAIN, MEASURES, compare, mean_of, per_query
from query.lab.scratch import scratch_index
from query.lab.searching import run_system
from query.lab.systems import System, hybrid, standard_systems
from query.lab.training import Options, held_back, mine, train
from query.lab.tuning import WINDOWS, Settings, as_defaults, describe, field_choices, tune
from tests.collections import find_collection

PAGE = Path(__file__).parent.parent / "docs" / "relevance.md"
FIELDS = ("title", "text")


def main() -> None:
    parts = []
    with bench_stack() as stack:
        for name in ("cranfield", "scifact"):
            folder = find_collection(name)
            if folder is None:
                raise SystemExit(f"this measurement needs the collection {name} (ESBLEND_TEST_DATA)")
            with scratch_index(stack.gateway, folder, lambda *_: None, keep_as=name) as index:
                parts.append(_collection(stack, index, folder))
        parts.append(_trained(stack, "scifact", find_collection("scifact")))
        encoders = _by_encoder(stack)
    _write_page(parts, encoders)


def _by_encoder(stack: BenchStack) -> list[dict[str, Any]]:
    """The default blend against its legs and rrf, for encoders with different mean dot products, on all three collections."""
    rows = []
    with tempfile.TemporaryDirectory() as parent:
        encoders = {
            "MiniLM": "minilm",
            "anisotropic, moderate": str(write_anisotropic_encoder(Path(parent) / "moderate", MODERATE)),
            "anisotropic, strong": str(write_anisotropic_encoder(Path(parent) / "strong", STRONG)),
        }
        for name in ("cranfield", "scifact", "squad-dev"):
            folder = find_collection(name)
            if folder is None:
                raise SystemExit(f"this measurement needs the collection {name} (ESBLEND_TEST_DATA)")
            judged = read_beir(folder, "test")
            for number, (encoder, model) in enumerate(encoders.items()):
                keep_as = f"{name}-by-encoder-{number}"
                with scratch_index(stack.gateway, folder, lambda *_: None, keep_as=keep_as, model=model) as index:
                    rows.append(
                        {"collection": name, "encoder": encoder, **_default_against_others(stack, index, judged)}
                    )
    return rows


def _default_against_others(stack: BenchStack, index: str, judged: Judged) -> dict[str, str]:
    systems = [
        hybrid("BM25", alpha=0),
        hybrid("kNN", alpha=1),
        hybrid("RRF", fusion="rrf"),
        hybrid("raw dot", normalizer="raw_dot", alpha=0.7),
        hybrid("default"),
    ]
    values = {
        system.name: per_query(run_system(stack.gateway, index, system, judged), judged, [MAIN])[MAIN]
        for system in systems
    }
    row = {name: f"{mean_of(by_query).mean:.4f}" for name, by_query in values.items()}
    against = {base: compare(values, base) for base in ("BM25", "kNN", "RRF")}
    return {**row, **{f"p to {base}": _p(differences, "default") for base, differences in against.items()}}


def _collection(stack: BenchStack, index: str, folder: Path) -> list[dict[str, Any]]:
    """Rows of one collection; with the settings tuned on its train split where it has one."""
    judged = read_beir(folder, "test")
    systems = standard_systems()
    if (folder / "qrels" / "train.tsv").is_file():
        systems.append(_tuned(stack, index, read_beir(folder, "train")))
    found = evaluate(stack.gateway, index, judged, systems)
    print(f"{index}: {len(judged.queries)} queries x {len(systems)} systems in {found.seconds:.1f} s")
    return _rows(index, found, [system.name for system in systems])


def _tuned(stack: BenchStack, index: str, judged: Judged) -> System:
    choices = [FIELDS, *field_choices(FIELDS)[1:]]
    candidates = {
        names: fetch_candidates(stack.gateway, index, judged, max(WINDOWS), {"fields": list(names)})
        for names in choices
    }
    advice = tune(candidates, judged, Settings(FIELDS, Blend()))
    print(describe(advice))
    return hybrid("linear exact, tuned on train", **as_defaults(advice.settings))


def _rows(index: str, found: Evaluation, names: Sequence[str]) -> list[dict[str, Any]]:
    """A row a system, with the p-values of its difference to BM25, to kNN and to RRF."""
    values = {name: found.systems[name].values[MAIN] for name in names}
    against = {base: compare(values, base) for base in ("BM25", "kNN", "RRF")}
    return [
        {
            "collection": index,
            "system": name,
            **{measure: f"{found.systems[name].means[measure].mean:.4f}" for measure in MEASURES},
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


def _trained(stack: BenchStack, index: str, folder: Path | None) -> list[dict[str, Any]]:
    """kNN and the blend by the packaged model, and by the same fine-tuned on the train split, both on the test split."""
    assert folder is not None
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
        systems = [
            hybrid(f"{what}, {model}", generation=generation, **options)
            for generation, model in (("g1", "MiniLM"), ("g2", "trained"))
            for what, options in (("kNN", {"alpha": 1}), ("linear exact", {}))
        ]
        found = evaluate(stack.gateway, index, test, [standard_systems()[0], *systems])
    rows = []
    for what in ("kNN", "linear exact"):
        values = {one: found.systems[f"{what}, {one}"].values[MAIN] for one in ("MiniLM", "trained")}
        difference = compare(values, "MiniLM")["trained"]
        rows.append({
            "system": what,
            **{f"{MAIN} {one}": f"{mean_of(values[one]).mean:.4f}" for one in values},
            "gain": f"{difference.gain.mean:+.4f}",
            "interval": f"{difference.gain.low:+.4f} to {difference.gain.high:+.4f}",
            "p": f"{difference.p_value:.4f}",
            "held back": f"{done['before']} to {done['after']}",
        })  # fmt: skip
    return rows


def _write_page(parts: Sequence[Sequence[dict[str, Any]]], encoders: Sequence[dict[str, Any]]) -> None:
    systems = [row for part in parts[:-1] for row in part]
    write(
        "relevance", "Systems side by side",
        "Test splits, all-MiniLM-L6-v2, through gateway, worker and Elasticsearch 9.4; window 100. `p to X`: paired t-test on "
        "nDCG@10 against X, corrected by Benjamini and Hochberg, with the sign of the difference. Untuned but for the last row "
        "of scifact, whose settings `esblend tune` chose on the train split. Printed by `python -m bench relevance`.",
        systems,
    )  # fmt: skip
    write(
        "training", "Fine-tuned on scifact's train split",
        "`esblend train`, two epochs from all-MiniLM-L6-v2 on the CPU: pairs of claim and abstract with a hard negative each; "
        "15 % of the train queries decide when to stop (`held back`: their nDCG@10 among 1,000 documents). Measured on the test "
        "split through the stack, both models side by side as two generations. Printed by `python -m bench relevance`.",
        parts[-1],
    )  # fmt: skip
    write(
        "relevance-by-encoder", "The default blend, by encoder",
        "nDCG@10 on the test splits. The anisotropic encoders are MiniLM with a common direction in all vectors: unrelated "
        "texts have a dot product of about 0.72 (moderate) and 0.91 (strong). `raw dot`: the normaliser "
        "`raw_dot` with alpha 0.7. `p to X`: as above, for the default. Printed by `python -m bench relevance`.",
        encoders,
    )  # fmt: skip
    tables = "\n".join(
        (RESULTS / f"{name}.md").read_text().replace("# ", "## ", 1)
        for name in ("relevance", "relevance-by-encoder", "training")
    )
    PAGE.write_text(f"{_HEAD}\n{tables}\n{_TAIL}")


_HEAD = """# Relevance

What the blend gains, measured with judgements. This page is written by `python -m bench relevance`, which loads the collections,
embeds them, tunes, trains and searches; run it to check it. Your own index is measured by [`esblend eval`](lab.md).
"""
_TAIL = """## How to read it

- A significant gain over both legs and over reciprocal rank fusion is what the exact linear blend is for; where a row shows none,
  none was seen.
- Scores move a little in the last digit from run to run, as Elasticsearch merges segments at other moments.
"""
