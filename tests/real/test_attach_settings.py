"""Index settings that prevent embedding are rejected by the attach call, with the way out."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from elasticsearch import BadRequestError

from tests.conftest import Stack

TIME_SERIES: dict[str, Any] = {
    "@timestamp": {"type": "date"}, "host": {"type": "keyword", "time_series_dimension": True}, "body": {"type": "text"},
}  # fmt: skip
LOGS: dict[str, Any] = {"@timestamp": {"type": "date"}, "host.name": {"type": "keyword"}, "body": {"type": "text"}}

REJECTED: dict[str, tuple[dict[str, Any], dict[str, Any] | None, str]] = {
    "a small result window": ({"max_result_window": 50}, None, r"\[index.max_result_window\] 50.*raise it to 1000"),
    "no sequence numbers": ({"index.disable_sequence_numbers": True}, None, r"disable_sequence_numbers\].*re-index"),
    "time series": (
        {"index.mode": "time_series", "index.routing_path": ["host"]}, TIME_SERIES, r"time_series\], where .* no updates",
    ),
    "logs with passages": ({"index.mode": "logsdb"}, LOGS, r"attach it with \[vector.layout: flat\]"),
    "few nested objects": ({"index.mapping.nested_objects.limit": 5}, None, r"nested_objects.limit\] 5.*raise it to 100"),
    "a block of reads": ({"index.blocks.read": True}, None, r"\[index.blocks.read\] set.*cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("case", REJECTED)
def test_an_index_that_cannot_be_embedded_is_rejected(stack: Stack, make_index: Callable[..., str], case: str) -> None:
    settings, properties, reason = REJECTED[case]
    index = make_index(properties=properties, **settings)
    with pytest.raises(BadRequestError, match=reason):
        stack.attach(index, "body")
    assert "_meta" not in stack.es.indices.get_mapping(index=index)[index]["mappings"]


def test_time_series_are_rejected_with_flat_vectors_too(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index(properties=TIME_SERIES, **{"index.mode": "time_series", "index.routing_path": ["host"]})
    with pytest.raises(BadRequestError, match="another"):
        stack.attach(index, "body", vector={"layout": "flat"})


WORKING: dict[str, tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any]]] = {
    "sequence numbers in doc values only": ({"index.seq_no.index_options": "doc_values_only"}, None, {}),
    "logs with flat vectors": ({"index.mode": "logsdb"}, LOGS, {"vector": {"layout": "flat"}}),
    "a lookup index": ({"index.mode": "lookup", "number_of_shards": 1}, None, {}),
    "a result window of 1000": ({"max_result_window": 1000}, None, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", WORKING)
def test_other_modes_and_settings_work(stack: Stack, make_index: Callable[..., str], case: str) -> None:
    settings, properties, options = WORKING[case]
    document = {"@timestamp": "2026-01-01T00:00:00Z", "host.name": "a"} if properties else {}
    index = make_index({**document, "body": "whales"}, properties=properties, **settings)
    stack.attach(index, "body", **options)
    assert stack.wait(index)["embedded"] == 1
    assert stack.esblend("verify", index, "--json").returncode == 0
    answer = stack.gateway.search(index=index, query={"hybrid": {"query": "marine animals"}}).body
    assert (len(answer["hits"]["hits"]), "esblend" in answer) == (1, False)


def test_a_closed_index_must_be_opened_first(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index({"body": "Whales sing."})
    path = f"/_esblend/indices/{index}"
    is_closed = rf"\[{index}\] is closed: open it \(POST /{index}/_open\)"
    stack.es.indices.close(index=index)
    for options in ({}, {"guard": True}, {"versioning": "external"}):
        with pytest.raises(BadRequestError, match=is_closed):
            stack.attach(index, "body", **options)
    assert "_meta" not in stack.es.indices.get_mapping(index=index)[index]["mappings"]
    stack.es.indices.open(index=index)
    stack.attach(index, "body")
    stack.wait(index)
    stack.es.indices.close(index=index)
    calls: list[tuple[str, str, Any]] = [
        ("GET", "status", None), ("POST", "backfill", {"paused": True}), ("GET", "generations", None),
        ("POST", "generations", {"passages": {"max_tokens": 100}}), ("DELETE", "generations/g0", None),
    ]  # fmt: skip
    for method, end, body in calls:
        with pytest.raises(BadRequestError, match=rf"\[{index}\] is closed.*POST /{index}/_open"):
            stack.call(method, f"{path}/{end}", body)
    for command in (["verify", index], ["detach", index, "--purge"], ["advise", index]):
        ended = stack.esblend(*command)
        assert ended.returncode == 1
        assert f"POST /{index}/_open" in ended.stderr
    checks = json.loads(stack.esblend("doctor", "--json").stdout)
    assert [check["outcome"] for check in checks if check["name"] == index and "is closed" in check["detail"]]
    stack.es.indices.open(index=index)
    stack.es.index(index=index, id="1", document={"body": "Rockets fly."})
    shown = stack.wait(index)
    assert (shown["embedded"], shown["backfill"]["paused"]) == (2, False)


@pytest.mark.parametrize("name", [".esblend-test-system", "esblend-checkpoints"])
def test_system_indices_are_rejected(stack: Stack, name: str) -> None:
    if name.startswith("."):
        stack.es.indices.create(index=name, mappings={"properties": {"body": {"type": "text"}}})
    else:
        stack.es.indices.put_mapping(index=name, properties={"body": {"type": "text"}})
    with pytest.raises(BadRequestError, match=r"belongs to esblend|starts with a dot"):
        stack.attach(name, "body")
    stack.es.indices.delete(index=".esblend-test-system", ignore_unavailable=True)
