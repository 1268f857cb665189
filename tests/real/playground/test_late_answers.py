"""An answer that comes late, while somebody does something else, changes nothing that belongs to what they do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.conftest import Stack
from tests.real.playground.conftest import ONLY_WIDE
from tests.real.playground.documents import INDEX, QUESTION, ask, hits, move_slider, order, settled, wait_for
from tests.real.playground.test_judging import cards, load, open_judging, saved

Visit = Callable[..., Page]
pytestmark = pytest.mark.usefixtures("no_judgements")


class Held:
    """Requests that wait for `release`."""

    def __init__(self, target: Page | BrowserContext, pattern: str) -> None:
        self._target, self._pattern = target, pattern
        self._routes: list[Route] = []
        target.route(pattern, lambda route: self._routes.append(route))

    def wait(self, page: Page) -> None:
        wait_for(f"a request to {self._pattern}", lambda: page.wait_for_timeout(10) or self._routes)

    def release(self, page: Page) -> None:
        """Send them, and wait until the page has handled their answers."""
        for route in self._routes:
            route.continue_()
        self._target.unroute(self._pattern)
        for route in self._routes:
            answer = route.request.response()
            assert answer
            answer.finished()
        page.evaluate("fetch('/_esblend/health/live').then((answer) => answer.text())")  # its answer comes after theirs


@contextmanager
def another_index(stack: Stack) -> Iterator[str]:
    name = "playground-another"
    stack.es.indices.create(index=name, mappings={"properties": {"title": {"type": "text"}}})
    try:
        stack.es.index(index=name, id="only", document={"title": "mammals of the sea"}, refresh=True)
        stack.attach(name, "title")
        stack.wait(name)
        yield name
    finally:
        stack.es.indices.delete(index=name)


def test_hits_wipe_no_message_about_a_file(page: Page, tmp_path: Path) -> None:
    """The hits of a question arrived after the refused export, and the message about it was gone."""
    held = Held(page, "**/_msearch")
    page.click(".views [data-view=judge]")
    load(page, tmp_path, {"sea": {"a b": 1}, "bread": {"c": 1}})
    held.wait(page)
    expect(page.locator("#score-board")).to_contain_text("measuring 2 judged questions")
    expect(page.locator("#score-board .figure-card")).to_have_count(0)
    page.click("#export-trec")
    expect(page.locator("#notice")).to_contain_text("Export CSV instead")
    held.release(page)
    expect(page.locator(".card").first).to_be_visible()
    expect(page.locator("#notice")).to_contain_text("Export CSV instead")
    page.click("#notice .close")
    expect(page.locator("#notice")).to_be_empty()


def test_saving_a_judgement_takes_no_click_and_no_typed_text(page: Page, stack: Stack) -> None:
    """Each change drew the view anew: what was typed, opened or being clicked was lost."""
    open_judging(page)
    page.locator(".card").first.locator(".more").click()
    page.fill("#new-question", "half a quest")
    held = Held(page, "**/_bulk*")
    page.locator(".card").first.locator("[data-grade='2']").click()
    held.wait(page)
    page.locator(".card").nth(1).locator("[data-grade='1']").hover()
    page.mouse.down()
    held.release(page)
    expect(page.locator("#kept")).to_contain_text("1 judgement, kept in the hidden index")
    page.mouse.up()
    expect(page.locator(".card").nth(1)).to_have_class("card is-judged")
    expect(page.locator("#new-question")).to_have_value("half a quest")
    expect(page.locator(".card").first.locator(".whole")).to_be_visible()
    wait_for("both grades in the index", lambda: len(saved(stack).get(QUESTION, {})) == 2)


def test_what_is_judged_while_the_judgements_are_read_is_kept(
    page: Page, visit: Visit, context: BrowserContext, stack: Stack
) -> None:
    open_judging(page)
    page.keyboard.press("3")
    wait_for("the grade", lambda: saved(stack).get(QUESTION))
    held = Held(context, "**/.esblend-judgements/_search*")
    other = visit(view="judge", q=QUESTION)
    expect(other.locator(".card").first).to_be_visible()
    expect(other.locator("#kept")).to_contain_text("Reading the judgements")
    grade = other.locator(f".card[data-id='{cards(other)[0]}'] [data-grade='1']")
    grade.click()
    held.wait(other)
    held.release(other)
    expect(other.locator("#kept")).to_contain_text("1 judgement, kept in the hidden index")
    expect(grade).to_have_attribute("aria-pressed", "true")
    wait_for("the later grade", lambda: list(saved(stack).get(QUESTION, {}).values()) == [1])


def test_grades_appear_on_hits_that_were_shown_before_them(
    page: Page, visit: Visit, context: BrowserContext, stack: Stack
) -> None:
    open_judging(page)
    page.keyboard.press("3")
    wait_for("the grade", lambda: saved(stack).get(QUESTION))
    held = Held(context, "**/.esblend-judgements/_search*")
    other = visit(q=QUESTION, size=50)
    expect(hits(other).first).to_be_visible()
    held.wait(other)
    expect(other.locator(".hit .grade")).to_have_count(0)
    held.release(other)
    expect(other.locator(".hit .grade")).to_have_text(["judged 3"])


def test_hits_do_not_appear_in_the_view_of_judgements(page: Page) -> None:
    open_judging(page)
    page.click(".views [data-view=search]")
    settled(page)
    held = Held(page, "**/_msearch")
    page.fill("#query", QUESTION)
    page.press("#query", "Enter")
    held.wait(page)
    page.click(".views [data-view=judge]")
    expect(page.locator(".card").first).to_be_visible()
    held.release(page)
    expect(page.locator("#results")).to_be_hidden()


def test_nothing_of_the_index_before_is_shown(page: Page, stack: Stack) -> None:
    """A late answer from the former index must neither end in a script error nor show the state of that index."""
    with another_index(stack) as other:
        page.reload()
        ask(page)
        searches = Held(page, f"**/{INDEX}/_msearch")
        page.fill("#query", "sea mammals")
        page.press("#query", "Enter")
        searches.wait(page)
        fields = Held(page, f"**/{other}/_field_caps*")
        page.select_option("#index", other)
        fields.wait(page)
        searches.release(page)
        expect(page.locator("#progress")).to_be_visible()
        fields.release(page)
        wait_for("the hits of the other index", lambda: order(page) == ["only"])
        states = Held(page, f"**/{INDEX}/status")
        page.select_option("#index", INDEX)
        states.wait(page)
        page.select_option("#index", other)
        expect(page.locator("#health .popover dd").first).to_have_text("1")
        states.release(page)
        expect(page.locator("#health .popover dd").first).to_have_text("1")


@ONLY_WIDE
def test_new_hits_do_not_end_the_drag_of_the_lowest_score(page: Page) -> None:
    ask(page)
    before = hits(page).count()
    slider = page.locator("[data-cut=a]")
    box = slider.bounding_box()
    assert box
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 8, middle)
    page.mouse.down()
    with page.expect_response("**/_msearch") as answered:
        page.mouse.move(box["x"] + 0.2 * box["width"], middle)
    answered.value.finished()
    page.mouse.move(box["x"] + 0.9 * box["width"], middle)
    page.mouse.up()
    settled(page)
    assert hits(page).count() < before
    assert float(slider.input_value()) > 0.7 * float(slider.get_attribute("max") or 0)


def test_a_setting_and_the_hits_beside_it_belong_together(page: Page) -> None:
    """The heading named the new settings over hits of the former ones."""
    ask(page)
    held = Held(page, "**/_msearch")
    page.press("#query", "Enter")
    held.wait(page)
    move_slider(page, "#alpha", 0)
    held.release(page)
    settled(page)
    assert order(page) == order(page, "words")[:10]
