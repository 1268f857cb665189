"""People sign in with their own credentials, which stay in the tab; what their rights do not allow is said in words."""

import sys
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, ViewportSize, expect

from tests.conftest import Stack
from tests.real.playground.conftest import ONLY_WIDE
from tests.real.playground.documents import INDEX, QUESTION, ask, fill
from tests.real.playground.test_accessibility import check
from tests.real.playground.test_copying import copied, run

JUDGEMENTS = ".esblend-judgements"


def sign_in(page: Page, user: str, secret: str) -> None:
    expect(page.locator("#sign-in")).to_be_visible()
    page.fill("#user", user)
    page.fill("#secret", secret)
    page.click("#sign-in button")


def sign_out(page: Page) -> None:
    if not page.locator("#sign-out").is_visible():  # on a phone it stands with the settings
        page.click(".views [data-view=search]")
        page.click(".tabs [data-tab=rail]")
    page.click("#sign-out")


@pytest.fixture(scope="module")
def secured(secured_stack: Stack) -> Iterator[Stack]:
    """A stack with security on, filled as the other one."""
    fill(secured_stack, INDEX)
    yield secured_stack
    secured_stack.es.indices.delete(index=INDEX)


@pytest.fixture
def closed(context: BrowserContext, secured: Stack) -> Page:
    """The page of the stack with security, before signing in."""
    page = context.new_page()
    page.goto(f"{secured.described['gateway']}/_esblend/?index={INDEX}")
    return page


@pytest.fixture
def make_key(secured: Stack) -> Iterator[Callable[..., str]]:
    """Makes an API key with the given privileges on indices; invalidates it afterwards."""
    made: list[str] = []

    def make(*indices: dict[str, list[str]]) -> str:
        key = secured.es.security.create_api_key(
            name="playground", role_descriptors={"only": {"indices": list(indices)}}
        )
        made.append(key["id"])
        return str(key["encoded"])

    yield make
    secured.es.security.invalidate_api_key(ids=made)
    secured.es.indices.delete(index=JUDGEMENTS, ignore_unavailable=True)


def test_a_wrong_password_is_called_wrong(closed: Page, secured: Stack, size: ViewportSize) -> None:
    expect(closed.locator("#message")).to_contain_text("Sign in to search.")
    sign_in(closed, secured.described["username"], "not the password")
    expect(closed.locator("#message")).to_contain_text("Wrong user name or password.")
    check(closed, size)
    sign_in(closed, "", "bm90OmEga2V5")
    expect(closed.locator("#message")).to_contain_text("This API key is not valid.")
    sign_in(closed, secured.described["username"], secured.described["password"])
    expect(closed.locator("#sign-in")).to_be_hidden()
    expect(closed.locator("#message")).not_to_contain_text("Wrong")
    ask(closed)
    assert closed.evaluate("[localStorage.length, document.cookie]") == [0, ""]


def test_signing_out_forgets_the_credentials(closed: Page, secured: Stack) -> None:
    sign_in(closed, secured.described["username"], secured.described["password"])
    ask(closed)
    sign_out(closed)
    expect(closed.locator("#sign-in")).to_be_visible()


def test_a_caller_who_may_only_search_still_searches(closed: Page, make_key: Callable[..., str]) -> None:
    sign_in(closed, "", make_key({"names": [INDEX], "privileges": ["read"]}))
    ask(closed)


def test_without_rights_judgements_stay_in_the_tab_and_say_so(
    closed: Page, make_key: Callable[..., str], size: ViewportSize
) -> None:
    sign_in(closed, "", make_key({"names": [INDEX], "privileges": ["read", "view_index_metadata"]}))
    ask(closed)
    closed.click(".views [data-view=judge]")
    expect(closed.locator(".card").first).to_be_visible()
    closed.keyboard.press("3")
    expect(closed.locator("#kept")).to_contain_text("Ask for the privileges read, write")
    expect(closed.locator("#kept")).to_contain_text("create_index")
    check(closed, size)
    expect(closed.locator(".card.is-judged")).to_have_count(1)
    closed.reload()
    expect(closed.locator(".card.is-judged")).to_have_count(1)


def test_the_named_rights_are_enough(closed: Page, make_key: Callable[..., str], secured: Stack) -> None:
    """What waited in the tab is written as soon as the caller may."""
    reader, enough = (
        make_key({"names": [INDEX], "privileges": ["read", "view_index_metadata"]}, *additional)
        for additional in ([], [{"names": [JUDGEMENTS], "privileges": ["read", "write", "create_index"]}])
    )
    sign_in(closed, "", reader)
    ask(closed)
    closed.click(".views [data-view=judge]")
    expect(closed.locator(".card").first).to_be_visible()
    closed.keyboard.press("2")
    expect(closed.locator("#kept")).to_contain_text("Ask for the privileges")
    sign_out(closed)
    sign_in(closed, "", enough)
    closed.click(".views [data-view=judge]")
    expect(closed.locator("#kept")).to_have_text(f"1 judgement, kept in the hidden index {JUDGEMENTS}.")
    stored = secured.es.search(index=JUDGEMENTS, query={"term": {"index": INDEX}})["hits"]["hits"]
    assert sorted(hit["_source"].get("grade", -1) for hit in stored) == [-1, 2]
    assert secured.es.indices.get_settings(index=JUDGEMENTS)[JUDGEMENTS]["settings"]["index"]["hidden"] == "true"


@ONLY_WIDE
def test_with_security_credentials_are_placeholders(context: BrowserContext, secured: Stack) -> None:
    page = context.new_page()
    page.goto(f"{secured.described['gateway']}/_esblend/?index={INDEX}&q={QUESTION.replace(' ', '+')}")
    sign_in(page, secured.described["username"], secured.described["password"])
    expect(page.locator(".hit").first).to_be_visible()
    credentials = {"ES_USERNAME": secured.described["username"], "ES_PASSWORD": secured.described["password"]}
    for form, command in (("curl", ["sh", "-c"]), ("python", [sys.executable, "-c"])):
        text = copied(page, form)
        assert secured.described["password"] not in text
        assert "ES_PASSWORD" in text
        assert "whale" in run([*command, text], **credentials)
    assert "process.env.ES_PASSWORD" in copied(page, "javascript")
