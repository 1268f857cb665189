"""The report of `esblend eval` in a browser, at both sizes, light and dark."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect

from query.lab.evaluation_details import EvaluationDetails
from query.lab.report import write_html
from tests.evaluations import HOSTILE, evaluation, weak

QUERIES = [
    "how to reset a password",
    HOSTILE,
    "opening hours",
    "where is my parcel",
    *(f"more {n}" for n in range(140)),
]
BASE = [0.4, 0.5, 0.9, 0.2] + [0.5] * 140
BLEND = [1.0, 0.6, 0.3, 0.2] + [0.5 + (n % 7) / 50 for n in range(140)]
FACTS = {
    "Index": "articles", "Model": "minilm, 384 dimensions", "Versions": "esblend 0.1.0, Elasticsearch 9.4.3",
    "Command": "esblend eval articles --html " + "a-long-path/" * 20,
}  # fmt: skip
Open = Callable[..., Page]


@pytest.fixture
def report(browser: Browser, tmp_path: Path, size: ViewportSize) -> Iterator[Open]:
    """Opens the report; any request and any script error fail the test."""
    contexts: list[BrowserContext] = []

    def open_(scheme: Any = "light", alpha: float = 0.65) -> Page:
        file = tmp_path / "report.html"
        weak_queries = weak(evaluation(BASE, BLEND, queries=QUERIES))
        documents = {"q0-right": ("Resetting your password", "Open the sign-in page."), "q0-other": (HOSTILE, HOSTILE)}
        write_html(weak_queries, EvaluationDetails(FACTS, alpha, documents), file)
        contexts.append(browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce"))
        page = contexts[-1].new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text))
        page.on(
            "request", lambda request: problems.append(request.url) if not request.url.startswith("file:") else None
        )
        page.goto(file.as_uri())
        expect(page.locator("#count")).to_have_text("144 queries")
        assert not problems
        return page

    yield open_
    for context in contexts:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_nothing_is_wider_than_the_screen(report: Open, size: ViewportSize, scheme: str) -> None:
    page = report(scheme)
    for query in (None, "how to reset a password"):
        if query:
            page.get_by_role("button", name=query, exact=True).click()
        violations = Axe().run(page).response["violations"]
        assert not violations, [
            (violation["id"], [node["html"] for node in violation["nodes"]][:3]) for violation in violations
        ]
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_the_sentence_the_box_and_the_plots_come_first(report: Open) -> None:
    page = report()
    expect(page.locator(".verdict")).to_contain_text("Blend (linear exact) beats BM25: +0.0")
    expect(page.locator(".verdict")).to_contain_text("queries better")
    expect(page.locator(".box")).to_contain_text("minilm, 384 dimensions")
    expect(page.locator(".notice")).to_contain_text("Weak judgements")
    expect(page.locator(".forest li:not(.axis)")).to_have_count(2)
    expect(page.locator(".present-name")).to_have_text("now 0.65")
    assert page.title() == "articles: relevance report"  # the hostile title of a query did not run


def test_labels_are_whole_and_no_point_covers_them(report: Open) -> None:
    """`now 1` left the picture, and points of queries that BM25 does not answer covered the numbers of the axis."""
    page = report(alpha=1.0)
    expect(page.locator(".present-name")).to_have_text("now 1")
    edges = page.evaluate(
        """() => {
          const all = (selector) => [...document.querySelectorAll(selector)]
          const edge = (selector, name) => all(selector).map((item) => item.getBoundingClientRect()[name])
          const numbers = edge("#scatter text[text-anchor=end]", "right")
          return [edge(".curve", "right")[0] - edge(".present-name", "right")[0],
                  edge("#scatter .diagonal", "left")[0] - 4.5 - Math.max(...numbers)]
        }"""
    )
    assert min(edges) >= 0, edges


def test_the_table_sorts_searches_and_filters(report: Open) -> None:
    page = report()
    first = page.locator("#table tr.query").first
    expect(first).to_contain_text("how to reset a password")  # largest gain first
    page.get_by_role("button", name="Gain").click()
    expect(first).to_contain_text("opening hours")
    page.fill("#search", "HOURS")
    expect(page.locator("#table tr.query")).to_have_count(1)
    expect(page.locator("#scatter circle:not(.away)")).to_have_count(1)
    page.fill("#search", "")
    page.select_option("#which", "worse")
    expect(page.locator("#count")).to_have_text("1 of 144 queries")
    page.select_option("#which", "all")
    expect(page.locator("#table tr.query")).to_have_count(100)
    page.click("#more")
    expect(page.locator("#table tr.query")).to_have_count(144)
    expect(page.locator("#table tr.query td:last-child").first).to_have_text("2/3")


def test_a_point_opens_its_query_with_the_hits_of_each_system(report: Open) -> None:
    page = report()
    page.locator('#scatter circle[data-query="0"]').dispatch_event("click")
    detail = page.locator("#table .detail")
    expect(detail.locator("h3")).to_have_text(
        ["linear exact: 1.000, 2 of 3 judged", "BM25: 0.400, 2 of 3 judged", "kNN: 0.620, 2 of 3 judged"]
    )
    expect(detail.locator("li").nth(0)).to_contain_text("relevant, 2 Resetting your password q0-right")
    expect(detail.locator("li").nth(1)).to_contain_text("not relevant")
    expect(detail.locator("li").nth(2)).to_contain_text("unjudged")
    expect(detail.locator("li").nth(2)).to_contain_text("<b>hostile</b>")
    expect(page.locator('#scatter circle[data-query="0"]')).to_have_class("chosen")


def test_another_system_is_compared(report: Open) -> None:
    page = report()
    page.select_option("#system", label="kNN")
    expect(page.locator("#table thead")).to_contain_text("kNN")
    data = json.loads(page.locator("#data").text_content() or "")
    expect(page.locator("#table tr.query td").nth(2)).to_have_text(
        f"{max(data['queries'], key=lambda q: q['values'][1] - q['values'][0])['values'][1]:.3f}"
    )
