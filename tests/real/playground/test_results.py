"""The playground's results in a real browser: what it shows, how settings change it, and that documents stay text."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.conftest import Stack
from tests.real.playground.conftest import ONLY_WIDE, PHONE
from tests.real.playground.documents import QUESTION, address, ask, hits, move_slider, order, settled, tab, wait_for

Visit = Callable[..., Page]


@ONLY_WIDE
def test_the_blend_comes_first_with_the_legs_beside_it(page: Page) -> None:
    ask(page)
    assert [heading.inner_text() for heading in page.locator(".column h2").all()] == [
        "Blend",
        "BM25 words",
        "kNN meaning",
    ]
    assert order(page)[0] == "whale"
    widths = [box["width"] for column in page.locator(".column").all() if (box := column.bounding_box())]
    assert widths[0] > 2 * widths[1]
    expect(page.locator("[data-column=a] .column-head .note")).to_contain_text("of the first 10 in both lists")
    expect(page.locator("#message")).to_contain_text("hits in")


def test_the_overlap_is_that_of_the_first_ten(page: Page) -> None:
    ask(page)
    both = len(set(order(page, "words")[:10]) & set(order(page, "meaning")[:10]))
    expect(page.locator("[data-column=a] .column-head .note")).to_contain_text(f"{both} of the first 10 in both lists")


def test_a_rank_beyond_the_visible_lists_is_shown(page: Page) -> None:
    """A hit was called absent from a leg's list when it was only not on its visible page."""
    ask(page, "warm animals on ice")
    move_slider(page, "#alpha", 0.95)
    expect(page.locator("#alpha-shown")).to_have_text("95 % meaning")
    settled(page)
    ask(page, "the sea animals of the cold wide sea")
    everything = {hit: rank for rank, hit in enumerate(order(page, "words"), 1)}
    for hit in hits(page).all():
        id_ = hit.get_attribute("data-id") or ""
        label = hit.locator(".place.words").inner_text()
        if id_ in everything:
            assert label == f"words #{everything[id_]}"
        if label == "words not in its list":
            explained = hit.locator(".bar .words").get_attribute("title") or ""
            assert "not in its list" in explained


def test_function_words_are_not_marked(page: Page) -> None:
    ask(page)
    with tab(page, "rail"):
        page.locator(
            "[data-field=plain]"
        ).check()  # its analyzer has no stop words: Elasticsearch matches "in" and "the"
    settled(page)
    assert "a.fields=" in address(page)
    expect(hits(page).first.locator("mark", has_text="mammals").first).to_be_visible()
    marks = {mark.lower() for mark in page.locator("mark").all_inner_texts()}
    assert "sea" in marks
    assert not marks & {"the", "in", "of", "and", "that"}


def test_word_forms_are_marked_as_elasticsearch_matched_them(page: Page) -> None:
    ask(page, "a mammal")
    expect(hits(page).first.locator("mark", has_text="mammals").first).to_be_visible()


def test_the_passage_is_marked_apart_from_the_words(page: Page) -> None:
    ask(page)
    best = hits(page).first
    expect(best.locator(".text.passage .passage-label")).to_have_text("best passage")
    assert best.locator(".passage").first.evaluate("item => getComputedStyle(item).borderLeftColor") != best.locator(
        "mark"
    ).first.evaluate("item => getComputedStyle(item).textDecorationColor")


def test_long_hits_are_clamped_and_open_with_more(page: Page) -> None:
    ask(page, "oceans hold most of the water")
    hit = page.locator("[data-column=a] .hit[data-id=long]")
    height = hit.locator(".text").bounding_box() or {}
    assert height["height"] < 75, "three lines"
    hit.locator(".more").click()
    expect(hit.locator(".whole")).to_contain_text("kind")
    hit.locator(".more").click()
    expect(hit.locator(".text")).to_be_visible()


def test_more_covers_no_word_of_a_text_that_fits(page: Page) -> None:
    ask(page)
    covered = """text => {
        if (text.scrollHeight > text.clientHeight + 1) return [] // clamped, as "more" says
        const range = document.createRange(), more = text.parentElement.querySelector(".more").getBoundingClientRect()
        range.selectNodeContents(text)
        return [...range.getClientRects()].filter((r) => r.right > more.left && r.bottom > more.top + 4 && r.top < more.bottom - 4)
            .map((r) => r.right - more.left)
    }"""
    texts = page.locator("[data-column=a] .text").all()
    assert len(texts) == 10
    for text in texts:
        assert text.evaluate(covered) == []


def test_a_field_that_repeats_the_id_is_not_shown(page: Page) -> None:
    ask(page)
    expect(hits(page).first.locator(".facts")).to_have_text("whalekind animal")


def test_a_negative_share_is_subtracted(page: Page) -> None:
    ask(page, "orbit sea")
    expect(page.locator(".score", has_text="−").first).to_be_visible()
    for score in page.locator("[data-column=a] .score").all_inner_texts():
        assert "-" not in score
        total, _, sum_ = score.partition(" = ")
        if sum_:
            assert abs(eval(sum_.replace("−", "-")) - float(total)) < 0.0021  # noqa: S307 -- numbers of the page under test


def test_a_device_without_keyboard_is_told_of_no_keys(browser: Browser, stack: Stack, index: str) -> None:
    phone = browser.new_context(viewport=PHONE, is_mobile=True, has_touch=True)
    page = phone.new_page()
    page.goto(f"{stack.described['gateway']}/_esblend/?index={index}")
    expect(page.locator(".welcome")).to_be_visible()
    expect(page.locator(".welcome")).not_to_contain_text("Point at")
    expect(page.locator("#query")).to_have_attribute("placeholder", "Ask something")
    page.goto(f"{stack.described['gateway']}/_esblend/?index={index}&q=sea&view=judge")
    expect(page.locator(".card").first).to_be_visible()
    expect(page.locator(".pool-head kbd")).to_have_count(0)
    phone.close()


def test_the_bars_add_up_to_the_scores(page: Page) -> None:
    ask(page)
    for hit in hits(page).all():
        total = sum(float(part.get_attribute("data-value") or 0) for part in hit.locator(".bar span").all())
        assert total == pytest.approx(float(hit.locator(".score").get_attribute("data-score") or 0), abs=1e-9)


@ONLY_WIDE
def test_lines_join_a_document_across_the_lists(page: Page) -> None:
    ask(page)
    hits(page).first.hover()
    expect(page.locator(".lines path")).to_have_count(2)
    expect(page.locator(".linked[data-id=whale]")).to_have_count(3)
    page.locator("[data-column=meaning] .row").nth(1).focus()
    linked = page.locator("[data-column=meaning] .row").nth(1).get_attribute("data-id")
    expect(page.locator(f".linked[data-id='{linked}']").first).to_be_visible()
    expect(page.locator(".linked[data-id=whale]")).to_have_count(0 if linked != "whale" else 3)


def test_the_slider_moves_the_ranking_and_marks_the_default(page: Page, stack: Stack, index: str) -> None:
    ask(page, "animals that swim in salt water")
    expect(page.locator("#alpha-default")).to_have_text("default 0.65")
    move_slider(page, "#alpha", 0)
    expect(page.locator("#alpha-shown")).to_have_text("0 % meaning")
    settled(page)
    assert order(page) == order(page, "words")[:10]
    with tab(page, "rail"):
        page.click("#alpha-default")
    expect(page.locator("#alpha-shown")).to_have_text("65 % meaning")
    stack.call("PUT", f"/_esblend/indices/{index}/defaults", {"alpha": 0.4})
    try:
        page.reload()
        expect(page.locator("#alpha-default")).to_have_text("tuned 0.40")
        expect(page.locator("#alpha-shown")).to_have_text("40 % meaning")
    finally:
        stack.call("PUT", f"/_esblend/indices/{index}/defaults", {})


def test_the_choices_and_their_defaults_are_those_of_the_gateway(page: Page, stack: Stack, index: str) -> None:
    blend = stack.call("GET", "/_esblend/blend")
    with tab(page, "rail"):
        page.locator("[data-group=how] summary").click()
    for chooser, choices in (("normalizer", "normalizers"), ("combination", "combinations"), ("fusion", "fusions")):
        options = page.locator(f"#{chooser} option")
        assert [option.get_attribute("value") for option in options.all()] == ["", *blend[choices]]
        expect(options.first).to_have_text(f"default ({blend['defaults'][chooser]})")
    ask(page)
    for normalizer in ("raw_dot", "calibrated"):
        with tab(page, "rail"):
            page.select_option("#normalizer", normalizer)
        settled(page)
        assert f"a.normalizer={normalizer}" in address(page)
        expect(page.locator("#message")).to_contain_text("hits in")
    stack.call("PUT", f"/_esblend/indices/{index}/defaults", {"normalizer": "raw_dot"})
    try:
        page.goto(f"{stack.described['gateway']}/_esblend/?index={index}")
        expect(page.locator("#normalizer option").first).to_have_text("default (raw_dot)")
    finally:
        stack.call("PUT", f"/_esblend/indices/{index}/defaults", {})


def line_of(bar: Locator) -> tuple[str, int]:
    """The style of the line of the lowest score, and by how many pixels its centre is above or below the bar's."""
    style, away = bar.evaluate(
        """bar => {
          const style = getComputedStyle(bar, "::after")
          return [style.borderLeftStyle, parseFloat(style.top) + parseFloat(style.height) / 2 - bar.clientHeight / 2]
        }"""
    )
    return style, round(away)


def test_the_lowest_score_is_a_line_in_the_score_axis(page: Page) -> None:
    ask(page)
    before = hits(page).count()
    score = float(hits(page).nth(2).locator(".score").get_attribute("data-score") or 0)
    move_slider(page, "[data-cut=a]", score)
    settled(page)
    assert 0 < hits(page).count() < before
    shown = [float(hit.get_attribute("data-score") or 0) for hit in page.locator("[data-column=a] .score").all()]
    assert min(shown) >= score - 0.02
    assert {line_of(bar) for bar in page.locator(".hit .bar-row").all()} == {("solid", 0)}
    move_slider(page, "[data-cut=a]", 99)
    expect(page.locator("[data-column=a] .empty")).to_contain_text("Move the lowest score to the left")


def test_fields_and_boosts(page: Page) -> None:
    ask(page, "sea")
    with tab(page, "rail"):
        page.locator("[data-field=body]").uncheck()
        settled(page)
        assert set(order(page, "words")) == {"sea", "evil"}
        page.get_by_label("Boost of title").fill("3")
        page.get_by_label("Boost of title").press("Enter")
    wait_for("the address with the boost", lambda: "title%5E3" in address(page))


def test_choosing_a_facet_value_keeps_the_others(page: Page) -> None:
    ask(page, "sea")
    with tab(page, "rail"):
        page.select_option("#facet", "kind")
        expect(page.locator("#facets button", has_text="place")).to_be_visible()
        values = set(page.locator("#facets button").all_inner_texts())
        page.locator("#facets button", has_text="place").click()
        settled(page)
        assert set(order(page)) == {"sea", "long"} or set(order(page)) == {"sea"}
        assert set(page.locator("#facets button").all_inner_texts()) == values
        page.locator("#facets button", has_text="animal").click()
    settled(page)
    assert {"sea", "shark"} <= set(order(page))


def test_an_unreadable_filter_says_what_to_do(page: Page) -> None:
    ask(page, "sea")
    with tab(page, "rail"):
        page.fill("#filter", "kind:food")
        settled(page)
        assert order(page) == ["bread"]
        page.fill("#filter", "kind:(")
        expect(page.locator("#message")).to_contain_text("The filter cannot be read")
        expect(page.locator("#message")).to_contain_text("Lucene syntax")
        expect(page.locator("#message")).to_be_in_viewport()
        page.fill("#filter", "kind:nothing")
    expect(page.locator("[data-column=a] .empty")).to_contain_text("Remove a filter")
    expect(page.locator("[data-column=a] .column-head .note")).to_have_text(re.compile(r"^0 hits in [\d.]+ m?s$"))
    for leg in ("words", "meaning"):  # they said that no document has these words, and that none has vectors
        with tab(page, leg):
            expect(page.locator(f"[data-column={leg}] .empty")).to_have_text("No document passes the filters.")


def test_a_document_of_markup_does_nothing(page: Page) -> None:
    ask(page, "sea onerror onmouseover")
    with tab(page, "rail"):
        page.select_option("#facet", "kind")
        expect(page.locator("#facets button", has_text="<i>markup</i>")).to_be_visible()
    settled(page)
    evil = page.locator("[data-column=a] .hit", has_text="onerror").first
    expect(evil).to_be_visible()
    evil.hover()
    evil.locator(".more").click()
    assert page.evaluate("window.hacked") is None
    assert page.locator("#results img, #results script, #results .hit b[onmouseover], #facets i").count() == 0


def test_a_reload_gives_the_same_page(page: Page) -> None:
    ask(page)
    move_slider(page, "#alpha", 0.25)
    with tab(page, "rail"):
        page.fill("#filter", "kind:animal")
        page.select_option("#facet", "kind")
        page.locator("#facets button", has_text="animal").click()
        page.click("#compare")
    move_slider(page, "#alpha", 0.9)
    settled(page)
    before = order(page), order(page, "b")
    assert all(before)
    page.reload()
    expect(hits(page, "b").first).to_be_attached()
    settled(page)
    assert (order(page), order(page, "b")) == before
    expect(page.locator("#query")).to_have_value(QUESTION)
    expect(page.locator("#filter")).to_have_value("kind:animal")
    expect(page.locator("#alpha-shown")).to_have_text("90 % meaning")
    expect(page.locator("#facets button[aria-pressed=true]")).to_contain_text("animal")


def test_back_gives_the_question_before(page: Page) -> None:
    ask(page, "sea")
    ask(page, "rockets")
    page.go_back()
    expect(page.locator("#query")).to_have_value("sea")
    wait_for("its hits", lambda: "sea" in order(page)[:3])


def test_two_settings_side_by_side(page: Page) -> None:
    ask(page)
    with tab(page, "rail"):
        page.click("#compare")
    move_slider(page, "#alpha", 0)
    settled(page)
    assert order(page, "b") != order(page)
    move_slider(page, "[data-cut=b]", 0.1)
    settled(page)
    with tab(page, "b"):
        # On a phone the figures below the bar take two lines, and the line of the lowest score was drawn through them.
        assert {line_of(bar) for bar in page.locator("[data-column=b] .bar-row").all()} == {("solid", 0)}
        expect(page.locator("[data-column=b] .column-head")).to_contain_text("0 % meaning")
        expect(hits(page, "b").first.locator(".move")).to_be_visible()
    with tab(page, "rail"):
        page.click("#compare")
    expect(page.locator("[data-column=b]")).to_have_count(0)
    with tab(page, "words"):
        expect(page.locator("[data-column=words]")).to_be_visible()


def test_the_state_of_the_index_on_demand(page: Page) -> None:
    expect(page.locator("#health summary")).to_contain_text("Ready")
    expect(page.locator("#health .popover")).to_be_hidden()
    page.click("#health summary")
    expect(page.locator("#health .popover")).to_contain_text("coverage 100 %")


@ONLY_WIDE
def test_by_keyboard_alone(page: Page) -> None:
    page.keyboard.press("/")
    page.keyboard.type(QUESTION)
    page.keyboard.press("Enter")
    expect(hits(page).first).to_be_visible()
    page.locator("#alpha").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#alpha-shown")).to_have_text("60 % meaning")
    settled(page)
    assert "a.alpha=0.6" in address(page)
    expect(page.locator("#alpha")).to_be_focused()


@pytest.mark.parametrize("size", [PHONE], ids=["390"])
def test_on_a_phone_the_first_hit_is_on_the_first_screen(visit: Visit) -> None:
    page = visit(q=QUESTION)
    expect(hits(page).first).to_be_visible()
    box = hits(page).first.bounding_box()
    assert box
    assert box["y"] + box["height"] < PHONE["height"]
    expect(page.locator("[data-column=words]")).to_be_hidden()
    page.click(".tabs [data-tab=words]")
    expect(page.locator("[data-column=words]")).to_be_visible()
    expect(hits(page).first).to_be_hidden()
    page.reload()  # the open tab is in the address, too
    expect(page.locator("[data-column=words] li").first).to_be_visible()
    expect(hits(page).first).to_be_hidden()


@ONLY_WIDE
def test_nothing_but_its_own_origin_is_asked(page: Page, stack: Stack) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    ask(page)
    page.click(".views [data-view=judge]")
    expect(page.locator(".card").first).to_be_visible()
    assert {url for url in asked if not url.startswith(("data:", stack.described["gateway"]))} == set()
    policy = page.request.get(f"{stack.described['gateway']}/_esblend/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@ONLY_WIDE
@pytest.mark.parametrize("name", ["nothing.js", "..%2f__init__.py", "__init__.py", "app.js%00", "index.html"])
def test_only_its_own_files_are_served(page: Page, stack: Stack, name: str) -> None:
    assert page.request.get(f"{stack.described['gateway']}/_esblend/playground/{name}").status == 404
