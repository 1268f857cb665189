"""Judging in the playground: a blind pool of all lists, kept with the index, exchanged with `esblend eval` and `tune`."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from elasticsearch import ApiError
from playwright.sync_api import Page, expect

from query.lab.judgements import Judged, read_judgements, read_queries
from query.lab.measures import per_query
from tests.conftest import Stack
from tests.real.playground.documents import INDEX, QUESTION, ask, move_slider, order, settled, tab, wait_for

Visit = Callable[..., Page]
pytestmark = pytest.mark.usefixtures("no_judgements")
JUDGED = {
    QUESTION: {"whale": 3, "seal": 2, "shark": 1, "bread": 0},
    'the "sea", salty': {"sea": 3, "long": 1},
    "engines in space": {"rocket": 3, "bread": 0},
}


def open_judging(page: Page, question: str = QUESTION) -> None:
    ask(page, question)
    page.click(".views [data-view=judge]")
    expect(page.locator(".card").first).to_be_visible()


def cards(page: Page) -> list[str]:
    ids: list[str] = page.evaluate("[...document.querySelectorAll('.card')].map(card => card.dataset.id)")
    return ids


def saved(stack: Stack) -> dict[str, dict[str, int]]:
    """Judgements by question, as the index holds them."""
    grades: dict[str, dict[str, int]] = {}
    query = {"term": {"index": INDEX}}
    try:
        answer = stack.es.search(index=".esblend-judgements", size=1000, query=query, ignore_unavailable=True)
    except ApiError as error:
        if error.status_code != 503:  # its shard has just been created
            raise
        return grades
    hits = answer["hits"]["hits"]
    for hit in hits:
        source = hit["_source"]
        grades.setdefault(source["query"], {})
        if "document" in source:
            grades[source["query"]][source["document"]] = source["grade"]
    return grades


def load(page: Page, tmp_path: Path, judged: dict[str, dict[str, int]] = JUDGED) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["query", "document", "grade"])
    writer.writerows([question, id_, grade] for question, grades in judged.items() for id_, grade in grades.items())
    file = tmp_path / "mine.csv"
    file.write_text(text.getvalue(), "utf-8")
    page.set_input_files("#import", file)
    expect(page.locator("#notice")).to_contain_text(f"Imported {len(judged)} questions")


def test_the_pool_is_that_of_all_lists_and_blind(page: Page) -> None:
    ask(page)
    lists = {id_ for column in ("a", "words", "meaning") for id_ in order(page, column)[:10]}
    by_blend = order(page)
    page.click(".views [data-view=judge]")
    expect(page.locator(".card").first).to_be_visible()
    pool = cards(page)
    assert set(pool) == lists
    assert [id_ for id_ in pool if id_ in by_blend] != by_blend
    assert page.locator("#pool .bar, #pool .score, #pool .rank, #pool .place, #pool mark").count() == 0
    assert pool == sorted(pool, key=pool.index)
    page.reload()
    expect(page.locator(".card").first).to_be_visible()
    assert cards(page) == pool


def test_grades_by_keyboard_are_kept_with_the_index(page: Page, stack: Stack, visit: Visit) -> None:
    open_judging(page)
    pool = cards(page)
    page.keyboard.press("ArrowDown")
    expect(page.locator(".card").first).to_be_focused()
    for position, grade in enumerate(("3", "0", "2")):
        page.keyboard.press(grade)
        expect(page.locator(".card").nth(position + 1)).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("1")
    expected = {pool[0]: 3, pool[1]: 0, pool[2]: 1}
    wait_for("the grades in the index", lambda: saved(stack).get(QUESTION) == expected)
    other = visit(view="judge", q=QUESTION)
    expect(other.locator(".card.is-judged")).to_have_count(3)
    expect(other.locator(".question[aria-current=true]")).to_contain_text(f"3 of {len(pool)} judged")
    assert other.evaluate("localStorage.length") == 0


def test_after_the_last_hit_a_further_key_changes_no_grade(page: Page) -> None:
    open_judging(page)
    expect(page.locator(".card.is-judged")).to_have_count(0)
    for _ in cards(page):
        page.keyboard.press("1")
    expect(page.locator("#all-judged")).to_be_focused()
    expect(page.locator("#all-judged")).to_be_in_viewport()
    page.keyboard.press("3")
    expect(page.locator(".card [data-grade='3'][aria-pressed=true]")).to_have_count(0)
    expect(page.locator(".card [data-grade='1'][aria-pressed=true]")).to_have_count(len(cards(page)))


def test_a_grade_is_taken_back_and_a_question_removed(page: Page, stack: Stack) -> None:
    open_judging(page)
    first = page.locator(".card").first
    first.locator("[data-grade='2']").click()
    wait_for("the grade", lambda: len(saved(stack).get(QUESTION, {})) == 1)
    first.locator("[data-grade='2']").click()
    wait_for("no grade", lambda: saved(stack).get(QUESTION) == {})
    first.locator("[data-grade='1']").click()
    page.on("dialog", lambda dialog: dialog.accept())
    page.locator("#questions .remove").click()
    wait_for("no question", lambda: saved(stack) == {})


def test_judgements_are_kept_for_each_index(page: Page, stack: Stack) -> None:
    stack.es.indices.create(index="playground-other", mappings={"properties": {"title": {"type": "text"}}})
    try:
        stack.es.index(index="playground-other", id="whale", document={"title": "whales of the sea"}, refresh=True)
        stack.attach("playground-other", "title")
        stack.wait("playground-other")
        page.reload()
        open_judging(page)
        page.keyboard.press("3")
        expect(page.locator(".card.is-judged")).to_have_count(1)
        page.select_option("#index", "playground-other")
        expect(page.locator(".card")).to_have_count(1)
        expect(page.locator(".card.is-judged")).to_have_count(0)
        page.select_option("#index", INDEX)
        expect(page.locator(".card.is-judged")).to_have_count(1)
    finally:
        stack.es.indices.delete(index="playground-other")


def test_the_next_question(page: Page, tmp_path: Path) -> None:
    page.click(".views [data-view=judge]")
    expect(page.locator("#judging .note").first).to_contain_text("No questions yet")
    file = tmp_path / "questions.txt"
    file.write_text("sea\nrockets in orbit\n")
    page.set_input_files("#import", file)
    expect(page.locator("#questions li")).to_have_count(2)
    expect(page.locator(".pool-title")).to_have_text("sea")
    expect(page.locator(".card").first).to_be_visible()
    page.keyboard.press("n")
    expect(page.locator(".pool-title")).to_have_text("rockets in orbit")
    page.fill("#new-question", "bread and water")
    page.press("#new-question", "Enter")
    expect(page.locator("#questions li")).to_have_count(3)
    expect(page.locator("#new-question")).to_have_value("")


def test_a_half_typed_question_survives_what_arrives(page: Page, tmp_path: Path) -> None:
    page.click(".views [data-view=judge]")
    page.fill("#new-question", "bread and water")
    file = tmp_path / "questions.txt"
    file.write_text("sea\nrockets in orbit\n")
    page.set_input_files("#import", file)
    expect(page.locator("#questions li")).to_have_count(2)
    expect(page.locator(".card").first).to_be_visible()
    expect(page.locator("#new-question")).to_have_value("bread and water")


def test_the_exports_are_read_by_eval_and_tune(
    page: Page, tmp_path: Path, downloads: Callable[..., list[Path]], stack: Stack
) -> None:
    page.click(".views [data-view=judge]")
    load(page, tmp_path)
    [table] = downloads(page, "#export-csv")
    judged = read_judgements(table, None)
    assert {judged.queries[id_]: dict(grades) for id_, grades in judged.grades.items()} == JUDGED
    files = {file.name: file for file in downloads(page, "#export-trec", 2)}
    judged = read_judgements(files["qrels.txt"], files["queries.jsonl"])
    assert {judged.queries[id_]: dict(grades) for id_, grades in judged.grades.items()} == JUDGED
    for parameters in (
        ["--qrels", str(table)],
        ["--qrels", str(files["qrels.txt"]), "--queries", str(files["queries.jsonl"])],
    ):
        done = stack.esblend("eval", INDEX, *parameters, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)


def test_trec_files_with_their_questions_are_imported(page: Page, tmp_path: Path, stack: Stack) -> None:
    (tmp_path / "queries.tsv").write_text("7\tsea water\n8\tspace\n")
    (tmp_path / "qrels.txt").write_text("7 0 sea 2\n8 0 rocket 1\n")
    page.click(".views [data-view=judge]")
    page.set_input_files("#import", tmp_path / "qrels.txt")
    expect(page.locator("#notice")).to_contain_text("Choose the file of questions together with them")
    page.set_input_files("#import", [tmp_path / "qrels.txt", tmp_path / "queries.tsv"])
    wait_for("the judgements", lambda: saved(stack) == {"sea water": {"sea": 2}, "space": {"rocket": 1}})
    assert read_queries(tmp_path / "queries.tsv") == {"7": "sea water", "8": "space"}


def test_ids_with_spaces_are_exported_as_csv_only(page: Page, tmp_path: Path) -> None:
    page.click(".views [data-view=judge]")
    load(page, tmp_path, {"one": {"a b": 1}, "two": {"c": 1}})
    page.click("#export-trec")
    expect(page.locator("#notice")).to_contain_text("Export CSV instead")


def test_a_judgement_that_could_not_be_saved_goes_with_the_next(page: Page, stack: Stack, problems: list[str]) -> None:
    open_judging(page)
    page.route("**/_bulk*", lambda route: route.fulfill(status=503, json={"error": {"reason": "busy"}}))
    page.keyboard.press("2")
    expect(page.locator("#kept")).to_contain_text("could not be saved")
    page.unroute("**/_bulk*")
    page.keyboard.press("1")
    expect(page.locator("#kept")).to_contain_text("2 judgements, kept in the hidden index")
    assert sorted(saved(stack)[QUESTION].values()) == [1, 2]
    problems.clear()  # Chromium reports the response 503


def test_ndcg_of_a_and_b_is_live_and_that_of_eval(page: Page, tmp_path: Path, stack: Stack) -> None:
    ask(page)
    with tab(page, "rail"):
        page.click("#compare")
    move_slider(page, "#alpha", 0)
    page.click(".views [data-view=judge]")
    load(page, tmp_path)
    texts = {question: question for question in JUDGED}
    expected = {}
    for name, alpha in (("a", 0.65), ("b", 0)):
        run = {}
        for question in JUDGED:
            body = {"size": 10, "query": {"hybrid": {"query": question, "alpha": alpha}}}
            hits = stack.gateway.search(index=INDEX, body=body)["hits"]["hits"]
            run[question] = {hit["_id"]: float(-rank) for rank, hit in enumerate(hits)}
        values = per_query(run, Judged("mine", texts, JUDGED), ["nDCG@10"])["nDCG@10"].values()
        expected[name] = f"{sum(values) / len(JUDGED):.3f}"
    for name, value in expected.items():
        expect(page.locator(f".figure-card[data-name={name}] b")).to_have_text(value)
    expect(page.locator("#score-board .verdict")).to_contain_text("leads by")
    expect(page.locator("#score-board .verdict")).to_contain_text("may be chance")
    before = page.locator(".figure-card[data-name=a] b").inner_text()
    page.locator(".question", has_text=QUESTION).click()
    card = page.locator(".card[data-id=whale]")
    card.locator("[data-grade='0']").click()
    wait_for("another nDCG", lambda: page.locator(".figure-card[data-name=a] b").inner_text() != before)


def test_the_pool_of_a_comparison_holds_both_settings(page: Page) -> None:
    ask(page, "animals")
    with tab(page, "rail"):
        page.locator("[data-field=title]").uncheck()
        page.click("#compare")
    move_slider(page, "#alpha", 1)
    settled(page)
    both = set(order(page)) | set(order(page, "b"))
    page.click(".views [data-view=judge]")
    expect(page.locator(".card").first).to_be_visible()
    assert both <= set(cards(page))
