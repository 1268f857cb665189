"""The documents of the playground's tests, and what the tests read from the page."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.conftest import Stack
from tests.real import faults

INDEX = "playground"
QUESTION = "mammals living in the sea"
_TEXT = {"type": "text", "analyzer": "english"}
# Sorting by words alone would put these first; they fill the visible part of the lists.
_FILLERS = {f"shell-{number:02}": {"title": f"Shell {number}", "body": "The sea is wide. " * 3 + f"Shell number {number}.",
                                   "kind": "shell"} for number in range(24)}  # fmt: skip
DOCUMENTS: dict[str, dict[str, str]] = {
    "whale": {"title": "Whales", "body": "Large mammals of the sea that breathe air.", "kind": "animal"},
    "shark": {"title": "Sharks", "body": "Fish that hunt in the sea. The sea is wide.", "kind": "animal"},
    "seal": {"title": "Seals", "body": "They are warm-blooded, swim in cold water and rest on ice.", "kind": "animal"},
    "sea": {"title": "The sea", "body": "Sea, sea, sea: salt water and waves.", "kind": "place"},
    "bread": {"title": "Bread", "body": "Flour, water, yeast and an oven.", "kind": "food"},
    "rocket": {"title": "Rockets", "body": "Engines that carry satellites into orbit.", "kind": "machine"},
    "long": {"title": "Oceans", "body": "Oceans hold most of the water. " * 30, "kind": "place"},
    "evil": {
        "title": '<img src=x onerror="window.hacked=1"> sea',
        "body": "<script>window.hacked=1</script> sea <b onmouseover=window.hacked=1>bold</b>",
        "kind": "<i>markup</i>",
    },
    **_FILLERS,
}


def fill(stack: Stack, index: str) -> None:
    # `plain` has an analyzer without stop words, as most mappings do.
    properties = {
        "title": _TEXT,
        "body": _TEXT,
        "plain": {"type": "text"},
        "kind": {"type": "keyword"},
        "id": {"type": "keyword"},
    }
    stack.es.indices.create(index=index, mappings={"properties": properties}, settings={"number_of_replicas": 0})
    operations: list[dict[str, Any]] = []
    for id_, document in DOCUMENTS.items():
        operations += [{"index": {"_id": id_}}, {**document, "plain": document["body"], "id": id_}]
    assert not stack.es.bulk(index=index, operations=operations, refresh=True)["errors"]
    stack.attach(index, "title", "body")
    stack.wait(index)


def ask(page: Page, question: str = QUESTION) -> None:
    page.fill("#query", question)
    page.press("#query", "Enter")
    expect(hits(page).first).to_be_visible()
    settled(page)


def settled(page: Page) -> None:
    """Wait for the answer to the last change: the page is busy from the moment at which somebody changes a setting."""
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")


@contextmanager
def tab(page: Page, name: str) -> Iterator[None]:
    """A part of the page that stands beside the blend and, on a phone, behind a tab: rail (the settings), words, meaning, b."""
    button = page.locator(f".tabs [data-tab={name}]")
    is_phone = button.is_visible()
    if is_phone:
        button.click()
    yield
    if is_phone:
        page.click(".tabs [data-tab=a]")


def hits(page: Page, column: str = "a") -> Locator:
    return page.locator(f"[data-column={column}] .hit")


def order(page: Page, column: str = "a") -> list[str]:
    """Ids of a column's hits, read at once."""
    script = "name => [...document.querySelectorAll(`[data-column=${name}] [data-id]`)].map(item => item.dataset.id)"
    ids: list[str] = page.evaluate(script, column)
    return ids


def address(page: Page) -> str:
    """Read from the page: Playwright's own `url` is only brought up to date between calls."""
    href: str = page.evaluate("location.href")
    return href


def move_slider(page: Page, selector: str, value: float) -> None:
    script = "(item, value) => { item.value = value; item.dispatchEvent(new Event('input', { bubbles: true })) }"
    page.locator(selector).evaluate(script, value)


def wait_for(what: str, holds: Callable[[], Any]) -> None:
    faults.wait_for(what, holds)
