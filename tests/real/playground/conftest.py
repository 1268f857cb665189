"""A browser, an index with documents, and pages that fail the test on any script error."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, ViewportSize, expect, sync_playwright

from tests import programs
from tests.conftest import Stack
from tests.real.faults import wait_for
from tests.real.playground.documents import INDEX, fill

_FLAGS = [
    "--no-sandbox", "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
expect.set_options(timeout=60_000)
WIDE: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
ONLY_WIDE = pytest.mark.parametrize("size", [WIDE], ids=["1280"])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests with a page run at both sizes, unless they name theirs: what they are about is not to be seen at the other one."""
    named = any("size" in marker.args[0] for marker in metafunc.definition.iter_markers("parametrize"))
    if "size" in metafunc.fixturenames and not named:
        metafunc.parametrize("size", [WIDE, PHONE], ids=["1280", "390"])


@pytest.fixture(scope="package")
def index(stack: Stack) -> Iterator[str]:
    fill(stack, INDEX)
    yield INDEX
    stack.es.indices.delete(index=f"{INDEX},.esblend-judgements", ignore_unavailable=True)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    executable = programs.browser()
    assert executable, "these tests need Chromium: make test-programs, or name one in ESBLEND_TEST_BROWSER"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable, args=_FLAGS)
        yield started
        started.close()


@pytest.fixture
def context(browser: Browser, size: ViewportSize) -> Iterator[BrowserContext]:
    opened = browser.new_context(accept_downloads=True, viewport=size, reduced_motion="reduce")
    opened.set_default_timeout(60_000)
    yield opened
    opened.close()


@pytest.fixture
def problems() -> list[str]:
    """Script errors and console errors of the pages of a test. A test that expects one removes it."""
    return []


@pytest.fixture
def visit(context: BrowserContext, stack: Stack, index: str, problems: list[str]) -> Iterator[Callable[..., Page]]:
    """Opens the playground with the given address parameters, in a new tab. Requests that run at a test's end are waited for, so
    that none of its writes reaches the next test."""
    running: set[Request] = set()

    def go(**parameters: Any) -> Page:
        opened = context.new_page()
        opened.on("request", lambda request: running.add(request))
        opened.on("requestfinished", lambda request: running.discard(request))
        opened.on("requestfailed", lambda request: running.discard(request))
        opened.on("pageerror", lambda error: problems.append(str(error)))
        opened.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        query = "&".join(f"{key.replace('_', '.')}={value}" for key, value in {"index": index, **parameters}.items())
        opened.goto(f"{stack.described['gateway']}/_esblend/?{query}")
        expect(opened.locator("#index")).to_have_value(index)
        return opened

    yield go
    for opened in context.pages:
        wait_for("the page's requests to end", lambda opened=opened: opened.wait_for_timeout(10) or not running)
    assert not problems


@pytest.fixture
def page(visit: Callable[..., Page]) -> Page:
    return visit()


@pytest.fixture
def no_judgements(stack: Stack, index: str) -> None:
    stack.es.indices.delete(index=".esblend-judgements", ignore_unavailable=True)


@pytest.fixture
def downloads(tmp_path: Path) -> Callable[[Page, str], list[Path]]:
    """Presses an export button; gives the files that came."""

    def press(page: Page, button: str, count: int = 1) -> list[Path]:
        files: list[Any] = []
        page.on("download", lambda file: files.append(file))
        with page.expect_download():
            page.click(button)
        wait_for("the downloads", lambda: page.wait_for_timeout(50) or len(files) >= count, seconds=30)
        paths = []
        for file in files:
            path = tmp_path / file.suggested_filename
            file.save_as(path)
            paths.append(path)
        return paths

    return press
