"""Takes the pictures of the documentation: `python -m tests.screenshots FOLDER [--data-dir STACK]`.

Without a stack it starts one. The index `help` has the tutorial's data, so that readers see what they get.
The terminal's commands run for real.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, ViewportSize, sync_playwright

from tests import cast, programs
from tests.conftest import ESBLEND, ROOT
from tests.real.playground.conftest import _FLAGS

QUESTION = "credit card does not work"
SET_UP = ("sample sample", "index help sample/articles.csv --mapping sample/mapping.json")
EVALUATION = "eval help --queries sample/queries.jsonl --qrels sample/qrels.txt --html report.html"
COMMANDS = (
    ("esblend", "attach", "help", "--fields", "title,body"),
    ("esblend", "status", "help", "--wait", "120"),
    ("esblend", "search", "help", QUESTION, "--explain", "-n", "2"),
)
"""What the recording of the terminal shows."""
TITLE = "Attach an index, wait for its vectors, and search it: each hit with what words and meaning add to its score"
BIN = Path(sys.executable).parent
SIZE: ViewportSize = {"width": 1200, "height": 760}
REPORT_SIZE: ViewportSize = {"width": 1200, "height": 1700}
"""Down to the curve over alpha."""


def esblend(*arguments: str, data_dir: Path, cwd: str | None = None) -> str:
    """Run a command in the folder `cwd`, as a reader of the tutorial does: the report shows the command."""
    environment = {**os.environ, "ESBLEND_DATA_DIR": str(data_dir.resolve()), "PYTHONPATH": str(ROOT)}
    command = [*ESBLEND, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment, cwd=cwd).stdout


def take(folder: Path, data_dir: Path) -> None:
    """Write `playground.png`, `report.png`, `terminal.cast` and `terminal.svg`."""
    import json

    address = json.loads(esblend("ps", "--json", data_dir=data_dir))["gateway"]
    with tempfile.TemporaryDirectory() as cwd:
        report = Path(cwd) / "report.html"
        for line in SET_UP:
            esblend(*line.split(), data_dir=data_dir, cwd=cwd)
        record(folder, data_dir, Path(cwd))
        esblend(*EVALUATION.split(), data_dir=data_dir, cwd=cwd)
        executable = programs.browser()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=executable, args=_FLAGS)
            page = browser.new_page(viewport=SIZE, color_scheme="light", reduced_motion="reduce")
            page.goto(f"{address}/_esblend/?index=help&q={QUESTION.replace(' ', '+')}")
            page.locator(".hit").first.wait_for()
            page.locator(".hit").nth(1).hover()  # lines join it with its place in both lists
            page.locator(".lines path").nth(1).wait_for(state="attached")
            save(page, folder / "playground.png")
            page.goto(report.as_uri())
            page.locator("#table tr.query").first.wait_for()
            page.set_viewport_size(REPORT_SIZE)
            save(page, folder / "report.png")
            browser.close()


def record(folder: Path, data_dir: Path, cwd: Path) -> None:
    """Write `terminal.cast` and `terminal.svg`: COMMANDS, run in the folder `cwd`."""
    environment = {**os.environ, "ESBLEND_DATA_DIR": str(data_dir.resolve()), "PATH": f"{BIN}:{os.environ['PATH']}"}
    events = cast.record(COMMANDS, cwd, environment)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "terminal.cast").write_text(cast.asciicast(events, TITLE))
    (folder / "terminal.svg").write_text(cast.drawing(events, TITLE))


def save(page: Page, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data-dir", type=Path)
    chosen = parser.parse_args()
    if chosen.data_dir is not None:
        take(chosen.folder, chosen.data_dir)
        return
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder)
        subprocess.run([*ESBLEND, "up", "--model", "minilm", "--data-dir", folder], check=True, stdout=sys.stderr)
        try:
            take(chosen.folder, data_dir)
        finally:
            esblend("down", "--delete", data_dir=data_dir)


if __name__ == "__main__":
    main()
