"""axe-core finds nothing in any view, at both sizes, light and dark; nothing is wider than the screen."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, ViewportSize, expect

from tests.real.playground.documents import QUESTION, tab
from tests.real.playground.test_copying import open_copying
from tests.real.playground.test_judging import load

Visit = Callable[..., Page]
SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])


def check(page: Page, size: ViewportSize) -> None:
    violations = Axe().run(page).response["violations"]
    assert not violations, [
        (violation["id"], [node["html"] for node in violation["nodes"]][:3]) for violation in violations
    ]
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def prepare(visit: Visit, scheme: Any, **parameters: str) -> Page:
    page = visit(**parameters)
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    return page


@SCHEMES
def test_results(visit: Visit, size: ViewportSize, scheme: str) -> None:
    page = prepare(visit, scheme, q=QUESTION, facet="kind", a_minScore="0.1")
    expect(page.locator(".hit").first).to_be_visible()
    check(page, size)
    page.locator(".hit .more").first.click()
    page.locator(".hit").first.focus()
    page.click("#health summary")
    check(page, size)


@SCHEMES
def test_settings(visit: Visit, size: ViewportSize, scheme: str) -> None:
    page = prepare(visit, scheme, q=QUESTION, facet="kind", value='"animal"', compare="1", editing="b")
    page.evaluate("for (const group of document.querySelectorAll('#rail details')) group.open = true")
    with tab(page, "rail"):
        expect(page.locator("#facets button").first).to_be_visible()
        check(page, size)


@SCHEMES
@pytest.mark.usefixtures("no_judgements")
def test_judging_and_comparing(visit: Visit, size: ViewportSize, scheme: str, tmp_path: Path) -> None:
    page = prepare(visit, scheme, q=QUESTION, compare="1", b_alpha="0", view="judge")
    expect(page.locator(".card").first).to_be_visible()
    load(page, tmp_path)
    expect(page.locator("#score-board .verdict")).to_be_visible()
    check(page, size)
    (tmp_path / "mine.csv").write_text("")
    page.set_input_files("#import", tmp_path / "mine.csv")
    expect(page.locator("#notice.error")).to_contain_text("mine.csv is empty")
    check(page, size)
    page.click(".views [data-view=search]")
    expect(page.locator(".hit .grade").first).to_be_visible()
    check(page, size)


@SCHEMES
def test_empty_and_failed(visit: Visit, size: ViewportSize, scheme: str) -> None:
    page = prepare(visit, scheme)
    expect(page.locator(".welcome")).to_be_visible()
    check(page, size)
    for parameters, selector in (({"filter": "kind:nothing"}, ".empty"), ({"filter": "kind:("}, "#message.error")):
        page = prepare(visit, scheme, q=QUESTION, **parameters)
        expect(page.locator(selector).first).to_be_visible()
        check(page, size)


@SCHEMES
def test_the_copy_dialog(visit: Visit, size: ViewportSize, scheme: str) -> None:
    page = prepare(visit, scheme, q=QUESTION)
    open_copying(page)
    expect(page.locator("#copied")).to_contain_text("curl")
    check(page, size)
    # On a phone, the names of the forms were cut.
    cut = "items => items.filter((item) => item.scrollWidth > item.clientWidth).map((item) => item.textContent)"
    assert page.locator("#copy, #copy-forms, #copy-forms button").evaluate_all(cut) == []
