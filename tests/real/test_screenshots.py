"""`make screenshots` works, and its pictures are small enough for a repository."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT, Stack


def test_pictures_of_playground_and_report(stack: Stack, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.screenshots", str(tmp_path), "--data-dir", str(stack.data_dir)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    finally:
        stack.es.indices.delete(index="help", ignore_unavailable=True)
    assert done.returncode == 0, done.stderr
    for name in ("playground.png", "report.png"):
        assert 10_000 < (tmp_path / name).stat().st_size < 400_000
        assert (ROOT / "docs" / "images" / name).is_file()
    recorded = (tmp_path / "terminal.cast").read_text()
    assert "documents have vectors" in recorded
    assert "dot product" in recorded
    assert "My card was declined" in (tmp_path / "terminal.svg").read_text()
    for name in ("terminal.cast", "terminal.svg"):
        assert (tmp_path / name).stat().st_size < 20_000
        assert (ROOT / "docs" / "images" / name).is_file()
