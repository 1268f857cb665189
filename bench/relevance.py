"""Relevance through the whole stack, cell by cell: writes docs/relevance.md.

    python -m bench.relevance                      # all cells
    python -m bench.relevance 'cranfield/*'        # those whose names match
    python -m bench.relevance systems/scifact training
    python -m bench.relevance page                 # the page alone, from the kept rows

A cell `collection/encoder` compares the default blend with its legs, with rrf and with the former default. `systems/collection`
compares all systems of `esblend eval` by MiniLM, and `training` fine-tunes MiniLM. The rows of a cell are kept in bench/results
until the cell is measured again, so a long measurement can be made in parts. Vectors come from the machine's embedding cache
where it has them.
"""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from bench import relevance_cells as cells
from bench.anisotropic import MODERATE, STRONG, write_anisotropic_encoder
from bench.mpnet import mpnet_folder
from bench.report import RESULTS, kept_rows, write
from bench.stack import BenchStack, bench_stack
from query.lab.scratch_index import scratch_index
from tests.collections import find_collection

PAGE = Path(__file__).parent.parent / "docs" / "relevance.md"
COLLECTIONS = ("cranfield", "scifact", "squad-dev")
ENCODERS = {
    "MiniLM": "minilm",
    "anisotropic, moderate": "anisotropic-moderate",
    "anisotropic, strong": "anisotropic-strong",
    "all-mpnet-base-v2": "mpnet",
}
"""Encoder -> its name in a cell's name. The largest comes last, because it embeds for an hour."""
SYSTEMS = ("cranfield", "scifact")
_DIFFERENCE = "default - MiniLM"
Rows = list[dict[str, Any]]


def cell_names() -> list[str]:
    by_encoder = [f"{collection}/{encoder}" for encoder in ENCODERS.values() for collection in COLLECTIONS]
    return [*by_encoder, *(f"systems/{collection}" for collection in SYSTEMS), "training"]


def main(patterns: Sequence[str] = ("*",)) -> None:
    if list(patterns) == ["page"]:
        _write_encoders(kept_rows("relevance-by-encoder"))
        _write_page()
        return
    chosen = [name for name in cell_names() if any(fnmatch(name, pattern) for pattern in patterns)]
    unknown = [pattern for pattern in patterns if not any(fnmatch(name, pattern) for name in cell_names())]
    if unknown:
        sys.exit(f"no such cell: {', '.join(unknown)}; there are {', '.join(cell_names())}")
    with tempfile.TemporaryDirectory() as scratch, bench_stack(is_caching=True) as stack:
        for name in chosen:
            print(f"cell {name}", flush=True)
            _measure(stack, name, Path(scratch))
            _write_page()


def _measure(stack: BenchStack, name: str, scratch: Path) -> None:
    if name == "training":
        with scratch_index(stack.gateway, _folder("scifact"), _no_progress) as index:
            _write_training(cells.trained(stack, index, _folder("scifact")))
        return
    first, second = name.split("/")
    if first == "systems":
        with scratch_index(stack.gateway, _folder(second), _no_progress) as index:
            _write_systems(_replace("relevance", cells.systems(stack, index, _folder(second)), collection=second))
        return
    encoder = next(title for title, short in ENCODERS.items() if short == second)
    with scratch_index(stack.gateway, _folder(first), _no_progress, model=_model(second, scratch)) as index:
        row = {"collection": first, "encoder": encoder, **cells.default_against_others(stack, index, _folder(first))}
    _write_encoders(_replace("relevance-by-encoder", [row], collection=first, encoder=encoder))


def _folder(name: str) -> Path:
    folder = find_collection(name)
    if folder is None:
        sys.exit(f"this measurement needs the collection {name} (ESBLEND_TEST_DATA)")
    return folder


def _model(encoder: str, scratch: Path) -> str:
    if encoder == "mpnet":
        return str(mpnet_folder())
    if not encoder.startswith("anisotropic"):
        return encoder
    folder = scratch / encoder
    strength = STRONG if encoder.endswith("strong") else MODERATE
    return str(folder if folder.is_dir() else write_anisotropic_encoder(folder, strength))


def _replace(result: str, rows: Rows, **cell: str) -> Rows:
    """The kept rows of a result with those of one cell replaced, in the order of the cells."""
    others = [row for row in kept_rows(result) if any(row[key] != value for key, value in cell.items())]

    def place(row: Mapping[str, Any]) -> tuple[int, int]:
        return COLLECTIONS.index(row["collection"]), list(ENCODERS).index(row.get("encoder", "MiniLM"))

    return sorted([*others, *rows], key=place)


def with_differences(rows: Sequence[Mapping[str, Any]]) -> Rows:
    """The rows by encoder, with the difference of an anisotropic encoder's default blend to MiniLM's on the same collection. Both
    compare the same texts, so the blend should not notice the common direction."""
    of_minilm = {row["collection"]: _figure(row) for row in rows if row["encoder"] == "MiniLM"}
    return [{**row, _DIFFERENCE: _difference(row, of_minilm.get(row["collection"]))} for row in rows]


def _difference(row: Mapping[str, Any], minilm: float | None) -> str:
    if minilm is None or not row["encoder"].startswith("anisotropic"):
        return ""
    return f"{_figure(row) - minilm:+.4f}"


def _figure(row: Mapping[str, Any]) -> float:
    return float(row["default"].partition(" ")[0])


def _no_progress(*_: object) -> None:
    pass


def _write_systems(rows: Rows) -> None:
    write(
        "relevance", "Systems side by side",
        "Test splits, all-MiniLM-L6-v2, through gateway, worker and Elasticsearch 9.4; window 100. `p to X`: paired t-test on "
        "nDCG@10 against X, corrected by Benjamini and Hochberg, with the sign of the difference. Untuned but for the last row "
        "of scifact, whose settings `esblend tune` chose on the train split. Printed by `make relevance`.",
        rows,
    )  # fmt: skip


def _write_training(rows: Rows) -> None:
    write(
        "training", "Fine-tuned on scifact's train split",
        "`esblend train`, two epochs from all-MiniLM-L6-v2 on the CPU: pairs of claim and abstract with a hard negative each; "
        "15 % of the train queries decide when to stop (`held back`: their nDCG@10 among 1,000 documents). Measured on the test "
        "split through the stack, both models side by side as two generations. Printed by `make relevance`.",
        rows,
    )  # fmt: skip


def _write_encoders(rows: Rows) -> None:
    write(
        "relevance-by-encoder", "The default blend, by encoder",
        "nDCG@10 on the test splits, and in parentheses the share of the first ten hits that nobody has judged, in percent. The "
        "anisotropic encoders are MiniLM with a common direction in all vectors: unrelated texts have a dot product of about 0.72 "
        "(moderate) and 0.91 (strong). `former default`: the normaliser `raw_dot` with alpha 0.7. `p to X`: paired t-test of the "
        "default against X, corrected by Benjamini and Hochberg, with the sign of the difference. `default - MiniLM`: the default "
        "blend of an anisotropic encoder minus that of MiniLM. Printed by `make relevance`.",
        with_differences(rows),
    )  # fmt: skip


def _write_page() -> None:
    """The page from the kept results; it names the cells that have not been measured."""
    names = [name for name in ("relevance-by-encoder", "relevance", "training") if kept_rows(name)]
    tables = "\n".join((RESULTS / f"{name}.md").read_text().replace("# ", "## ", 1) for name in names)
    PAGE.write_text(f"{_HEAD}{_missing()}\n{tables}\n{_TAIL}")


def _missing() -> str:
    """Names the cells without kept rows."""
    measured = {f"{row['collection']}/{ENCODERS[row['encoder']]}" for row in kept_rows("relevance-by-encoder")}
    measured |= {f"systems/{row['collection']}" for row in kept_rows("relevance")}
    if kept_rows("training"):
        measured.add("training")
    missing = [name for name in cell_names() if name not in measured]
    return f"\nNot measured yet: {', '.join(f'`{name}`' for name in missing)}.\n" if missing else ""


_HEAD = """# Relevance

What the blend gains, measured with judgements. This page is written by `make relevance`, which loads the collections, embeds them,
tunes, trains and searches; run it to check it. `make relevance CELLS='cranfield/*'` measures a part again. Your own index is
measured by [`esblend eval`](lab.md).
"""
_TAIL = """## How to read it

- A significant gain over both legs and over reciprocal rank fusion is what the exact linear blend is for; where a row shows none,
  none was seen.
- `default - MiniLM` shows how little a common direction of all vectors matters: calibration removes it. The aim is 0.005.
- Scores move a little in the last digit from run to run, as Elasticsearch merges segments at other moments.
"""

if __name__ == "__main__":
    main(sys.argv[1:] or ("*",))
