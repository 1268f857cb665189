"""Of two changes of an attachment that overlap, none is lost."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from elasticsearch import ApiError, AsyncElasticsearch, BadRequestError

import mappings.generations
import mappings.lifecycle
from esblend.errors import NotAttached
from mappings.index_lookup import AttachedIndex, find_attached
from mappings.requests import parse_defaults
from tests.conftest import Stack

Change = Callable[[AsyncElasticsearch, str], Awaitable[Any]]


async def change_defaults(es: AsyncElasticsearch, index: str) -> Any:
    return await mappings.lifecycle.set_defaults(es, index, parse_defaults({"alpha": 0.9}))


async def pause_backfill(es: AsyncElasticsearch, index: str) -> Any:
    return await mappings.lifecycle.control_backfill(es, index, {"paused": True})


async def activate(es: AsyncElasticsearch, index: str) -> Any:
    return await mappings.generations.activate(es, index, "g2")


SETTINGS = {"defaults", "backfill"}
"""Two simultaneous changes of these are not protected from each other."""
CHANGES: dict[str, Change] = {"defaults": change_defaults, "backfill": pause_backfill, "activation": activate}


def changed(attachment: dict[str, Any]) -> set[str]:
    """The changes of `CHANGES` that an attachment shows."""
    signs = {
        "defaults": attachment.get("defaults", {}).get("alpha") == 0.9,
        "backfill": attachment.get("backfill", {}).get("paused") is True,
        "activation": attachment["active"] == "g2",
    }
    return {name for name, is_seen in signs.items() if is_seen}


def overlap(stack: Stack, index: str, outer: Change, inner: Change, patch: pytest.MonkeyPatch) -> None:
    """`inner` happens as a whole between the moment when `outer` has read the attachment and its change."""
    has_read = False

    async def read(es: AsyncElasticsearch, name: str) -> AttachedIndex:
        nonlocal has_read
        attached = await find_attached(es, name)
        if not has_read:
            has_read = True
            await inner(es, name)
        return attached

    async def act() -> None:
        async with AsyncElasticsearch(stack.described["elasticsearch"]) as es:
            await outer(es, index)

    patch.setattr(mappings.lifecycle, "find_attached", read)
    patch.setattr(mappings.generations, "find_attached", read)
    asyncio.run(act())
    patch.undo()


def show(stack: Stack, index: str) -> dict[str, Any]:
    attachment: dict[str, Any] = stack.call("GET", f"/_esblend/indices/{index}")["attachment"]
    return attachment


@pytest.mark.parametrize("outer", CHANGES)
def test_overlapping_changes_both_survive(
    stack: Stack, make_index: Callable[..., str], outer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make_index()
    stack.attach(index, "body")
    stack.call("POST", f"/_esblend/indices/{index}/generations", {"passages": {"max_tokens": 100}})
    for inner in CHANGES.keys() - (SETTINGS if outer in SETTINGS else {outer}):
        overlap(stack, index, CHANGES[outer], CHANGES[inner], monkeypatch)
        assert changed(show(stack, index)) == {outer, inner}
        stack.call("PUT", f"/_esblend/indices/{index}/defaults", {})
        stack.call("POST", f"/_esblend/indices/{index}/backfill", {"paused": False})
        stack.call("POST", f"/_esblend/indices/{index}/generations/g1/_activate")
        assert changed(show(stack, index)) == set()
    stack.call("PUT", f"/_esblend/indices/{index}/defaults", {"alpha": 0.3})
    assert show(stack, index)["defaults"]["alpha"] == 0.3


@pytest.mark.parametrize("late", ["defaults", "backfill"])
def test_a_late_change_does_not_attach_a_detached_index_again(
    stack: Stack, make_index: Callable[..., str], late: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make_index()
    stack.attach(index, "body", guard=True)

    async def detach(es: AsyncElasticsearch, name: str) -> None:
        await mappings.lifecycle.detach(es, name)

    with pytest.raises(NotAttached):
        overlap(stack, index, CHANGES[late], detach, monkeypatch)
    with pytest.raises(ApiError, match="not attached"):
        show(stack, index)
    stack.attach(index, "body")
    assert show(stack, index)["active"] == "g2"


def test_changes_of_defaults_and_backfill_add_one_field_to_the_mapping(
    stack: Stack, make_index: Callable[..., str]
) -> None:
    """Elasticsearch never removes a field, and limits their number."""
    index = make_index()
    stack.attach(index, "body")

    def fields() -> set[str]:
        mapping = stack.es.indices.get_mapping(index=index)[index]["mappings"]
        return set(mapping["properties"]["esblend"]["properties"]["g1"]["properties"])

    before = fields()
    for number in range(5):
        stack.call("PUT", f"/_esblend/indices/{index}/defaults", {"alpha": number / 10})
        stack.call("POST", f"/_esblend/indices/{index}/backfill", {"paused": number % 2 == 0})
    assert fields() - before == {"turn_1"}


def test_an_index_at_its_limit_of_fields_can_be_changed(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index()
    stack.attach(index, "body")
    meta = stack.es.indices.get_mapping(index=index)[index]["mappings"]["_meta"]
    for limit in range(1, 100):
        stack.es.indices.put_settings(index=index, settings={"index.mapping.total_fields.limit": limit})
        with suppress(BadRequestError):
            stack.es.indices.put_mapping(index=index, meta=meta)
            break
    with pytest.raises(BadRequestError, match="Limit of total fields"):
        stack.es.indices.put_mapping(index=index, properties={"another": {"type": "keyword"}})
    stack.call("POST", f"/_esblend/indices/{index}/backfill", {"paused": True})
    stack.call("PUT", f"/_esblend/indices/{index}/defaults", {"alpha": 0.9})
    assert changed(show(stack, index)) == {"backfill", "defaults"}
