"""Writes a result as JSON and as a Markdown table to bench/results, and prints the table."""

import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.scale import SCALE
from esblend.encoder.threads import available_threads

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    flags: set[str] = set()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        line = next((line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), "")
        flags = set(line.split()) & {"avx2", "avx512f", "avx512_vnni", "amx_int8", "avx_vnni"}
    return {
        "threads": available_threads(),
        "architecture": platform.machine(),
        "instructions": sorted(flags),
        "python": platform.python_version(),
    }


def kept_rows(name: str) -> list[dict[str, Any]]:
    """The rows of an earlier run; empty without one."""
    file = RESULTS / f"{name}.json"
    return list(json.loads(file.read_text())["rows"]) if file.is_file() else []


def write(name: str, title: str, note: str, rows: Sequence[dict[str, Any]]) -> None:
    about = machine()
    columns = list(rows[0])
    lines = [
        f"# {title}",
        "",
        note,
        "",
        f"{about['threads']} threads, {about['architecture']}, {', '.join(about['instructions'])}.",
        "",
    ]
    lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(str(row.get(column, "")) for column in columns) + " |" for row in rows]
    text = "\n".join(lines) + "\n"
    print(text)
    if SCALE != 1:
        return
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({"machine": about, "note": note, "rows": rows}, indent=2) + "\n")
    (RESULTS / f"{name}.md").write_text(text)
