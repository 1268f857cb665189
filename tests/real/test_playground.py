"""The playground in a real browser: it searches, moves, explains, judges, and lets nothing of a document become markup."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests import programs
from tests.conftest import Stack, start_stack, stop_stack
from tests.real.faults import wait_for

DOCUMENTS = {
    "whale": {"title": "Whales", "body": "Large mammals of the sea that breathe air.", "kind": "animal"},
    "shark": {"title": "Sharks", "body": "Fish that hunt in the sea. The sea is wide.", "kind": "animal"},
    "sea": {"title": "The sea", "body": "Sea, sea, sea: salt water and waves.", "kind": "place"},
    "bread": {"title": "Bread", "body": "Flour, water, yeast and an oven.", "kind": "food"},
    "rocket": {"title": "Rockets", "body": "Engines that carry satellites into orbit.", "kind": "machine"},
    "evil": {
        "title": '<img src=x onerror="window.hacked=1"> sea',
        "body": "<script>window.hacked=1</script> sea <b onmouseover=window.hacked=1>bold</b>",
        "kind": "<i>markup</i>",
    },
}
QUESTION = "mammals living in the sea"
_FLAGS = [
    "--no-sandbox", "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def fill(stack: Stack, index: str) -> None:
    text = {"type": "text", "analyzer": "english"}
    mapping = {"properties": {"title": text, "body": text, "kind": {"type": "keyword"}}}
    stack.es.indices.create(index=index, mappings=mapping, settings={"number_of_replicas": 0})
    for id_, document in DOCUMENTS.items():
        stack.es.index(index=index, id=id_, document=document, refresh=True)
    stack.attach(index, "title", "body")
    stack.wait(index)


@pytest.fixture(scope="module")
def index(stack: Stack) -> Iterator[str]:
    fill(stack, "playground")
    yield "playground"
    stack.es.indices.delete(index="playground")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = programs.browser()
    assert executable, "these tests need Chromium: make test-programs, or name one in ESBLEND_TEST_BROWSER"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable, args=_FLAGS)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser, stack: Stack, index: str) -> Iterator[Page]:
    context = browser.new_context(accept_downloads=True)
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    opened.goto(f"{stack.described['gateway']}/_esblend/?index={index}")
    expect(opened.locator("#index")).to_have_value(index)
    yield opened
    context.close()
    assert not problems


def ask(page: Page, question: str = QUESTION) -> None:
    page.fill("#query", question)
    page.press("#query", "Enter")
    expect(blend(page).first).to_be_visible()


def blend(page: Page) -> Any:
    return page.locator(".column[aria-label=Blend] .hit")


def order(page: Page, column: str = "Blend") -> list[str]:
    """Ids of a column's hits, read at once."""
    hits = "name => [...document.querySelectorAll(`.column[aria-label=${name}] .hit`)].map(one => one.dataset.id)"
    found: list[str] = page.evaluate(hits, column)
    return found


def test_three_rankings_stand_side_by_side(page: Page) -> None:
    ask(page)
    assert [heading.inner_text() for heading in page.locator(".column h2").all()] == ["BM25", "Blend", "kNN"]
    assert order(page)[0] == "whale"
    best = blend(page).first
    expect(best.locator("mark", has_text="mammals")).to_be_visible()
    expect(best.locator(".moves")).to_contain_text("BM25")
    expect(page.locator("#message")).to_contain_text("hits in")
    expect(page.locator("#status")).to_contain_text("coverage 100 %")


def test_a_slider_moves_the_ranking(page: Page) -> None:
    ask(page, "animals that swim in salt water")
    before = order(page)
    page.locator("#alpha").evaluate(
        "one => { one.value = 0; one.dispatchEvent(new Event('input', { bubbles: true })) }"
    )
    expect(page.locator("#alpha-shown")).to_have_text("0.00")
    wait_for("the order of BM25 alone", lambda: order(page) == order(page, "BM25"), seconds=20)
    assert order(page) != before


def test_the_bars_add_up_to_the_scores(page: Page) -> None:
    ask(page)
    for hit in blend(page).all():
        total = sum(float(one.get_attribute("data-value") or 0) for one in hit.locator(".bar span").all())
        shown = float(hit.locator(".score").inner_text().split(" = ")[0])
        assert total == pytest.approx(shown, abs=1e-3)


def test_judgements_are_collected_and_exported(page: Page, tmp_path: Path) -> None:
    ask(page)
    blend(page).first.locator("button", has_text="perfect").click()
    blend(page).nth(1).locator("button", has_text="not relevant").click()
    expect(page.locator("#judged")).to_have_text("2 judgements of 1 queries")
    found = {}
    for kind in ("csv", "qrels"):
        with page.expect_download() as download:
            page.click(f"#export-{kind}")
        download.value.save_as(tmp_path / kind)
        found[kind] = (tmp_path / kind).read_text().splitlines()
    assert found["csv"][:2] == ["query,document,grade", f'"{QUESTION}","whale",3']
    assert found["qrels"][0] == "1 0 whale 3"
    from query.lab.judged import read_judgements

    (tmp_path / "judgements.csv").write_text("\n".join(found["csv"]))
    assert dict(next(iter(read_judgements(tmp_path / "judgements.csv", None).grades.values())))["whale"] == 3


def test_filters_and_facets(page: Page) -> None:
    ask(page, "sea")
    page.select_option("#facet", "kind")
    page.locator("#facets button", has_text="place (1)").click()
    expect(blend(page)).to_have_count(1)
    assert order(page) == ["sea"]
    page.locator("#facets button", has_text="place (1)").click()
    page.fill("#filter", "kind:food")
    expect(blend(page)).to_have_count(1)
    page.fill("#filter", "kind:(")
    expect(page.locator("#message")).to_contain_text("Failed to parse query")


def test_a_document_of_markup_does_nothing(page: Page) -> None:
    ask(page, "sea")
    page.select_option("#facet", "kind")
    expect(page.locator("#facets button", has_text="<i>markup</i>")).to_be_visible()
    expect(page.locator(".hit", has_text="onerror").first).to_be_visible()
    page.locator(".hit", has_text="onmouseover").first.hover()
    assert page.evaluate("window.hacked") is None
    assert page.locator("#results img, #results script, #results b, #facets i").count() == 0


def test_the_search_can_be_copied(page: Page, stack: Stack) -> None:
    ask(page)
    page.click("[data-copy=python]")
    code = page.locator("#copied").inner_text()
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102  # what the page hands out must run as it is
    assert names["answer"]["hits"]["hits"][0]["_id"] == "whale"
    page.click("[data-copy=curl]")
    assert page.locator("#copied").inner_text().startswith(f"curl '{stack.described['gateway']}/playground/_search'")


def test_by_keyboard_alone(page: Page) -> None:
    page.keyboard.press("/")
    page.keyboard.type(QUESTION)
    page.keyboard.press("Enter")
    expect(blend(page).first).to_be_visible()
    page.locator("#alpha").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#alpha-shown")).to_have_text("0.65")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 380])
def test_it_is_accessible(page: Page, scheme: Any, width: int) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    ask(page)
    violations = Axe().run(page).response["violations"]
    assert not violations, [(one["id"], one["nodes"][0]["html"]) for one in violations]
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_nothing_but_its_own_origin_is_asked(page: Page, stack: Stack) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    ask(page)
    assert {url for url in asked if not url.startswith(("data:", stack.described["gateway"]))} == set()
    policy = page.request.get(f"{stack.described['gateway']}/_esblend/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_people_sign_in_with_their_own_credentials(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> None:
    secured = start_stack(tmp_path_factory.mktemp("signin"), "--security")
    try:
        fill(secured, "private")
        page = browser.new_page()
        page.goto(f"{secured.described['gateway']}/_esblend/")
        expect(page.locator("#sign-in")).to_be_visible()
        expect(page.locator("#message")).to_have_text("Sign in to search.")
        page.fill("#user", secured.described["username"])
        page.fill("#secret", secured.described["password"])
        page.click("#sign-in button")
        expect(page.locator("#index")).to_have_value("private")
        expect(page.locator("#sign-in")).to_be_hidden()
        ask(page)
        assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        page.close()
    finally:
        stop_stack(secured)
