"""The list of feed processes comes from outside: a damaged one is written again, a newer one is left alone."""

from typing import Any

import pytest
from pydantic import SecretStr

from esblend.settings import Settings
from indexer.feed.members import Member, group_of, read_members

PLACE = {"found": True, "_seq_no": 3, "_primary_term": 1}


def test_the_members_are_read() -> None:
    stored = {"format": 1, "feeds": [{"id": "a", "group": "g"}, {"id": "b", "group": "h"}]}
    members = read_members({**PLACE, "_source": stored})
    assert members.by_id == {"a": Member(id="a", group="g"), "b": Member(id="b", group="h")}
    assert read_members({"found": False}).by_id == {}


@pytest.mark.parametrize(
    "stored", [{}, {"format": 1}, {"format": 1, "feeds": "a"}, {"format": "1", "feeds": [{"id": 7}]}]
)
def test_a_damaged_list_is_empty_and_may_be_written_over(stored: dict[str, Any]) -> None:
    members = read_members({**PLACE, "_source": stored})
    assert (members.by_id, members.is_newer) == ({}, False)
    assert members.version is not None


def test_a_list_of_a_newer_format_is_left_alone() -> None:
    assert read_members({**PLACE, "_source": {"format": 2, "feeds": {"a": 1}}}).is_newer


def test_processes_with_the_same_credentials_are_a_group() -> None:
    key, other = (Settings(es_api_key=SecretStr(value)) for value in ("first", "second"))
    assert group_of(key) == group_of(Settings(es_api_key=SecretStr("first"))) != group_of(other)
    assert "first" not in group_of(key)
    assert (
        group_of(Settings())
        == group_of(Settings())
        != group_of(Settings(es_username="feed", es_password=SecretStr("x")))
    )
