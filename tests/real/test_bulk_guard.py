"""Through the gateway, an update in `_bulk` removes the vectors of the text it changes in the same write; nothing else changes."""

import gzip
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
import urllib3

from tests.conftest import Stack
from tests.real.faults import wait_for


@pytest.fixture
def guarded(stack: Stack, make_index: Callable[..., str]) -> Iterator[str]:
    index = make_index(
        {"title": "t", "body": "Whales sing.", "n": 1}, {"title": "t", "body": "Bread is baked.", "n": 1}
    )
    stack.attach(index, "body", guard=True)
    stack.wait(index)
    stack.es.indices.put_alias(index=index, name=f"{index}-alias", is_write_index=True)
    other = f"{index}-other"
    stack.es.indices.create(index=other, aliases={f"{index}-alias": {}})
    yield index
    stack.es.indices.delete(index=other)


def send(
    stack: Stack, path: str, *lines: dict[str, Any], compress: bool = False, **parameters: str
) -> list[dict[str, Any]]:
    """The results of a `_bulk` through the gateway."""
    raw = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    headers = {"content-type": "application/x-ndjson", **({"content-encoding": "gzip"} if compress else {})}
    url = f"{stack.described['gateway']}{path}?{urlencode(parameters)}"
    response = urllib3.request("POST", url, body=gzip.compress(raw) if compress else raw, headers=headers)
    assert response.status == 200, response.data
    return [result for item in response.json()["items"] for result in item.values()]


def vectors_after(stack: Stack, index: str, write: Callable[[], dict[str, Any]]) -> bool:
    """Whether document 0 has vectors in the version that the write made. If the feed has already changed it, write again."""
    while True:
        result = write()
        document = stack.es.get(index=index, id="0")
        if document["_seq_no"] == result["_seq_no"]:
            return bool((document["_source"].get("esblend") or {}).get("g1"))
        stack.wait(index)


FORMS: dict[str, dict[str, Any]] = {
    "index in the path": {"path": "/{index}/_bulk"},
    "index in the action": {"path": "/_bulk", "action": {"_index": "{index}"}},
    "alias in the path": {"path": "/{index}-alias/_bulk", "parameters": {"require_alias": "true"}},
    "alias in the action": {"path": "/_bulk", "action": {"_index": "{index}-alias"}},
    "compressed": {"path": "/{index}/_bulk", "compress": True},
    "upsert": {"path": "/{index}/_bulk", "body": {"doc_as_upsert": True}},
    "other upsert": {"path": "/{index}/_bulk", "body": {"upsert": {"body": "new"}}},
    "without detection of no-ops": {"path": "/{index}/_bulk", "body": {"detect_noop": False}},
    # The worker may write the document between Elasticsearch's read and write of it, so clients set `retry_on_conflict`.
    "several megabytes": {"path": "/{index}/_bulk", "padding": 2_500_000, "action": {"retry_on_conflict": 3}},
    "several megabytes, compressed": {"path": "/{index}/_bulk", "padding": 2_500_000, "compress": True},
    "waiting": {"path": "/{index}/_bulk", "parameters": {"wait_for": "embedded", "timeout": "0s"}},
}


@pytest.mark.parametrize("form", FORMS)
def test_the_vector_of_the_older_text_is_gone_in_the_same_write(stack: Stack, guarded: str, form: str) -> None:
    options = FORMS[form]
    action = {
        key: value.format(index=guarded) if isinstance(value, str) else value
        for key, value in options.get("action", {}).items()
    }
    padding = options.get("padding", 0)
    before = [{"index": {"_index": guarded, "_id": "9"}}, {"pad": "x" * padding}] if padding else []
    turn = 0

    def write() -> dict[str, Any]:
        nonlocal turn
        turn += 1
        results = send(
            stack, options["path"].format(index=guarded), *before, {"update": {"_id": "0", **action}},
            {"doc": {"body": f"Rockets fly, {turn}."}, **options.get("body", {})}, compress=options.get("compress", False),
            **options.get("parameters", {}),
        )  # fmt: skip
        assert results[-1]["result"] == "updated", results
        return results[-1]

    assert not vectors_after(stack, guarded, write)
    stack.wait(guarded)
    source = stack.es.get(index=guarded, id="0")["_source"]
    assert source["body"] == f"Rockets fly, {turn}."
    assert source["title"] == "t"
    assert source["n"] == 1
    assert source["esblend"]["g1"]["state"] == "embedded"


def test_other_updates_keep_their_vectors_and_results(stack: Stack, guarded: str) -> None:
    before = stack.es.get(index=guarded, id="0")
    [result] = send(stack, f"/{guarded}/_bulk", {"update": {"_id": "0"}}, {"doc": {"body": "Whales sing."}})
    assert result["result"] == "noop"
    assert result["_seq_no"] == before["_seq_no"]

    def write(**doc: Any) -> dict[str, Any]:
        [result] = send(stack, f"/{guarded}/_bulk", {"update": {"_id": "0"}}, {"doc": doc, "_source": ["n", "body"]})
        assert result["get"]["_source"] == {"n": doc["n"], "body": "Whales sing."}
        return result

    assert vectors_after(stack, guarded, lambda: write(n=2))
    assert vectors_after(stack, guarded, lambda: write(n=3, body="Whales sing."))
    assert stack.es.get(index=guarded, id="0")["_source"]["esblend"] == before["_source"]["esblend"]
    [missing] = send(stack, f"/{guarded}/_bulk", {"update": {"_id": "none"}}, {"doc": {"body": "x"}})
    assert missing["status"] == 404
    assert missing["error"]["type"] == "document_missing_exception"
    [created] = send(
        stack, f"/{guarded}/_bulk", {"update": {"_id": "2"}}, {"doc": {"body": "x"}, "doc_as_upsert": True}
    )
    assert created["result"] == "created"
    assert stack.wait(guarded)["embedded"] == 3


@pytest.fixture
def piped(stack: Stack, make_index: Callable[..., str], request: pytest.FixtureRequest) -> str:
    """A guarded index with another pipeline: the parameter is the setting that names it."""
    upper = {"uppercase": {"field": "body", "ignore_missing": True}}
    stack.es.ingest.put_pipeline(id="bulk-guard-upper", processors=[upper])
    index = make_index({"body": "Whales sing."}, **{request.param: "bulk-guard-upper"})
    stack.attach(index, "body", guard=True)
    stack.wait(index)
    return index


@pytest.mark.parametrize("piped", ["default_pipeline", "final_pipeline"], indirect=True)
def test_another_pipeline_still_runs_on_upserts(stack: Stack, piped: str) -> None:
    turn = 0

    def write() -> dict[str, Any]:
        nonlocal turn
        turn += 1
        line = {"doc": {"body": f"rockets fly {turn}"}, "doc_as_upsert": True}
        return send(stack, f"/{piped}/_bulk", {"update": {"_id": "0"}}, line)[0]

    assert not vectors_after(stack, piped, write)
    stack.wait(piped)
    assert stack.es.get(index=piped, id="0")["_source"]["body"] == f"ROCKETS FLY {turn}"
    assert stack.esblend("verify", piped, "--json").returncode == 0


def test_a_scripted_update_gets_its_new_vector_from_the_feed(stack: Stack, guarded: str) -> None:
    before = stack.es.get(index=guarded, id="0")["_source"]["esblend"]["g1"]["fingerprint"]
    script = {"script": {"source": "ctx._source.body += ' More.'"}}
    [result] = send(stack, f"/{guarded}/_bulk", {"update": {"_id": "0"}}, script, wait_for="embedded")
    assert result["result"] == "updated"
    assert stack.es.get(index=guarded, id="0")["_source"]["esblend"]["g1"]["fingerprint"] != before


def test_an_index_without_the_guard_gets_the_bytes_as_they_came(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index({"body": "Whales sing."})
    stack.attach(index, "body")
    stack.wait(index)
    [result] = send(stack, f"/{index}/_bulk", {"update": {"_id": "0"}}, {"doc": {"body": "Bread."}})
    assert result["result"] == "updated"
    before = "Whales sing."

    def is_renewed() -> bool:
        source = stack.es.get(index=index, id="0")["_source"]
        return bool(source["body"] != before and source["esblend"]["g1"]["passages"][0]["end"] == len("Bread."))

    wait_for("the vector of the new text", is_renewed)
