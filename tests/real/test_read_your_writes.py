"""`?wait_for=embedded` answers when the vectors exist."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch, BadRequestError

from query.gateway.wait_for_embedded import refresh_if_asked
from query.gateway.written_documents import Written
from tests.conftest import Stack

JSON = {"accept": "application/json", "content-type": "application/json"}


@pytest.fixture
def index(stack: Stack, make_index: Callable[..., str]) -> str:
    name = make_index()
    stack.attach(name, "body")
    return name


def write(stack: Stack, method: str, path: str, body: Any, **params: str) -> dict[str, Any]:
    params = {"wait_for": "embedded", **params}
    return dict(stack.gateway.perform_request(method, path, params=params, headers=JSON, body=body).body)


def state(stack: Stack, index: str, id_: str, **params: Any) -> Any:
    return stack.es.get(index=index, id=id_, **params)["_source"].get("esblend", {}).get("g1", {}).get("state")


def test_an_indexed_document_is_answered_with_its_vector(stack: Stack, index: str) -> None:
    answer = write(stack, "PUT", f"/{index}/_doc/a", {"body": "read me back"})
    assert (answer["_id"], answer["result"], answer["esblend"]["embedded"]) == ("a", "created", 1)
    assert state(stack, index, "a") == "embedded"


def test_an_index_that_was_deleted_since_the_write_is_not_refreshed(stack: Stack, index: str) -> None:
    async def act() -> None:
        async with AsyncElasticsearch(stack.described["elasticsearch"]) as es:
            written = [Written(name, "a", None, 1) for name in (index, f"{index}-deleted")]
            await refresh_if_asked(es, {"query_string": b"refresh=true"}, written)

    before = refreshes(stack, index)
    asyncio.run(act())
    assert refreshes(stack, index) > before


def refreshes(stack: Stack, index: str) -> int:
    total = stack.es.indices.stats(index=index, metric="refresh")["indices"][index]["primaries"]["refresh"]
    return int(total["external_total"])


def test_an_update_waits_for_the_new_text(stack: Stack, index: str) -> None:
    write(stack, "PUT", f"/{index}/_doc/a", {"body": "at first"})
    before = stack.es.get(index=index, id="a")["_source"]["esblend"]["g1"]["fingerprint"]
    write(stack, "POST", f"/{index}/_update/a", {"doc": {"body": "and then"}})
    assert stack.es.get(index=index, id="a")["_source"]["esblend"]["g1"]["fingerprint"] != before


def test_a_bulk_request_waits_for_all_and_a_refresh_comes_last(stack: Stack, index: str) -> None:
    lines: list[Any] = []
    for number in range(20):
        lines += [{"index": {"_id": str(number), "routing": f"r{number % 3}"}}, {"body": f"text {number}"}]
    lines += [{"delete": {"_id": "absent"}}, {"create": {"_id": "other"}}, {"body": ""}]
    headers = {**JSON, "content-type": "application/x-ndjson"}
    params = {"wait_for": "embedded", "refresh": "true", "timeout": "2m"}
    answer = stack.gateway.perform_request("POST", f"/{index}/_bulk", params=params, headers=headers, body=lines)
    assert answer.body["esblend"] == {
        "embedded": 21, "dead_letters": 0, "not_attached": 0, "pending": 0, "timed_out": False,
    }  # fmt: skip
    query = {"nested": {"path": "esblend.g1.passages", "query": {"exists": {"field": "esblend.g1.passages.vector"}}}}
    assert stack.es.count(index=index, query=query)["count"] == 20


def test_a_document_that_is_not_ready_in_time_is_told(stack: Stack, index: str) -> None:
    answer = write(stack, "PUT", f"/{index}/_doc/a", {"body": "too quick"}, timeout="1ms")
    assert answer["result"] == "created"
    assert answer["esblend"]["timed_out"] is True


def test_an_index_without_attachment_is_told(stack: Stack, make_index: Callable[..., str]) -> None:
    answer = write(stack, "PUT", f"/{make_index()}/_doc/a", {"body": "nobody embeds me"})
    assert answer["esblend"]["not_attached"] == 1


def test_a_refused_write_is_passed_on_as_it_is(stack: Stack, index: str) -> None:
    with pytest.raises(BadRequestError, match="document_parsing_exception"):
        write(stack, "PUT", f"/{index}/_doc/a", {"body": {"no": "text"}})


def test_without_the_whole_answer_it_is_refused_before_anything_is_written(stack: Stack, index: str) -> None:
    with pytest.raises(BadRequestError, match="filter_path"):
        write(stack, "PUT", f"/{index}/_doc/a", {"body": "x"}, filter_path="result")
    assert not stack.es.exists(index=index, id="a")
