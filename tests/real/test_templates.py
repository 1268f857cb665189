"""The feed follows indices that are created from an attached template, and aliases."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from elasticsearch import BadRequestError

from tests.conftest import Stack


@pytest.fixture
def attached_mapping(stack: Stack, make_index: Callable[..., str]) -> dict[str, Any]:
    """The mapping of an attached index, as a template's author copies it."""
    index = make_index(properties={"body": {"type": "text"}, "@timestamp": {"type": "date"}})
    stack.attach(index, "body")
    return dict(stack.es.indices.get_mapping(index=index)[index]["mappings"])


@pytest.fixture
def template(stack: Stack, attached_mapping: dict[str, Any], index_name: str) -> Iterator[Callable[..., str]]:
    name = f"made-{index_name}"

    def make(**options: Any) -> str:
        settings = {"number_of_shards": 1, "number_of_replicas": 0}
        stack.es.indices.put_index_template(
            name=name,
            index_patterns=[f"{name}*"],
            template={"mappings": attached_mapping, "settings": settings},
            **options,
        )
        return name

    yield make
    for index in stack.es.indices.get(index=f"{name}-*", features=["aliases"]):
        stack.es.indices.delete(index=index)
    stack.es.indices.delete_index_template(name=name)


def test_an_index_made_from_an_attached_template_is_followed(stack: Stack, template: Callable[..., str]) -> None:
    name = template()
    stack.es.index(index=f"{name}-1", id="a", document={"body": "the first text makes the index"})
    assert stack.wait(f"{name}-1")["embedded"] == 1


def test_an_alias_is_followed_through_a_rollover(stack: Stack, template: Callable[..., str]) -> None:
    name = template()
    stack.es.indices.create(index=f"{name}-000001", aliases={f"alias-{name}": {"is_write_index": True}})
    for turn in range(2):
        for number in range(5):
            stack.es.index(index=f"alias-{name}", document={"body": f"event {number} of turn {turn}"})
        stack.es.indices.rollover(alias=f"alias-{name}")
    indices = sorted(stack.es.indices.get_alias(name=f"alias-{name}"))
    assert [stack.wait(index)["embedded"] for index in indices] == [5, 5, 0]


def test_an_alias_of_one_index_is_attached_and_of_several_is_refused(
    stack: Stack, make_index: Callable[..., str], index_name: str
) -> None:
    index, name = make_index({"body": "text"}), f"other-{index_name}"
    stack.es.indices.put_alias(index=index, name=f"alias-{index}")
    assert stack.attach(f"alias-{index}", "body")["index"] == index
    stack.es.indices.create(index=name, aliases={f"alias-{index}": {}})
    with pytest.raises(BadRequestError, match=name):
        stack.attach(f"alias-{index}", "body")
    stack.es.indices.delete(index=name)
