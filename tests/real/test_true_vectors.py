"""A vector that exists is the only proof of a vector: whatever a client writes back, the right vectors come back."""

from collections.abc import Callable
from typing import Any

import pytest

from mappings.source import fingerprint
from tests.conftest import Stack
from tests.real.faults import wait_for

LONG = "Whales sing in the deep sea at night. " * 80


def written_back(stack: Stack, index: str, id_: str) -> dict[str, Any]:
    """A document as any client reads it from 9.2 on: without its vectors, with everything beside them."""
    source = dict(stack.es.get(index=index, id=id_)["_source"])
    assert source["esblend"]["g1"]["state"] == "embedded"
    return {**source, "title": "changed by a client"}


def put(stack: Stack, index: str, id_: str) -> None:
    stack.es.index(index=index, id=id_, document=written_back(stack, index, id_))


def bulk(stack: Stack, index: str, id_: str) -> None:
    operations = [{"index": {"_id": id_}}, written_back(stack, index, id_)]
    assert not stack.es.bulk(index=index, operations=operations)["errors"]


def update_with_whole_document(stack: Stack, index: str, id_: str) -> None:
    stack.es.update(index=index, id=id_, doc=written_back(stack, index, id_))


def bulk_update(stack: Stack, index: str, id_: str) -> None:
    operations = [{"update": {"_id": id_}}, {"doc": written_back(stack, index, id_)}]
    assert not stack.es.bulk(index=index, operations=operations)["errors"]


def through_the_gateway(stack: Stack, index: str, id_: str) -> None:
    stack.gateway.index(index=index, id=id_, document=written_back(stack, index, id_))


WRITERS = [put, bulk, update_with_whole_document, bulk_update, through_the_gateway]


def vectors(stack: Stack, index: str, id_: str) -> list[Any]:
    parameters = {"_source_exclude_vectors": "false"}
    headers = {"accept": "application/json"}
    source = stack.es.perform_request("GET", f"/{index}/_doc/{id_}", params=parameters, headers=headers).body["_source"]
    ours = source.get("esblend", {}).get("g1", {})
    return [passage["vector"] for passage in ours.get("passages", [ours]) if "vector" in passage]


@pytest.mark.parametrize("attachment", [{}, {"vector": {"layout": "flat"}}, {"guard": True}])
def test_a_document_that_is_written_back_gets_its_vectors_back(
    stack: Stack, make_index: Callable[..., str], attachment: dict[str, Any]
) -> None:
    text = "Whales sing." if attachment.get("vector") else LONG
    index = make_index(*({"title": "t", "body": text} for _ in WRITERS))
    stack.attach(index, "body", **attachment)
    stack.wait(index)
    before = {str(number): vectors(stack, index, str(number)) for number in range(len(WRITERS))}
    for number, write in enumerate(WRITERS):
        write(stack, index, str(number))
    for id_, expected in before.items():
        assert len(expected) == (1 if attachment.get("vector") else 4)
        wait_for(f"the vectors of {id_}", lambda id_=id_, expected=expected: vectors(stack, index, id_) == expected)  # type: ignore[misc]
    assert stack.wait(index)["embedded"] == len(WRITERS)
    assert stack.esblend("verify", index, "--json").returncode == 0


def test_the_guard_removes_a_fingerprint_without_vectors_in_the_same_write(
    stack: Stack, make_index: Callable[..., str]
) -> None:
    index = make_index({"title": "t", "body": LONG})
    stack.attach(index, "body", guard=True)
    stack.wait(index)
    response = stack.es.index(index=index, id="0", document=written_back(stack, index, "0"))
    document = stack.es.get(index=index, id="0")
    if document["_seq_no"] == response["_seq_no"]:
        assert "esblend" not in document["_source"]
    response = stack.es.index(index=index, id="0", document={"title": "t", "body": LONG})
    stack.wait(index)
    response = stack.es.update(index=index, id="0", doc={"title": "another"})
    assert "esblend" in stack.es.get(index=index, id="0")["_source"], "a partial update keeps its vectors"
    assert response["result"] == "updated"


def test_wait_for_and_coverage_count_vectors_and_not_words_beside_them(
    stack: Stack, make_index: Callable[..., str]
) -> None:
    index = make_index({"title": "t", "body": LONG}, {"title": "t", "body": "short"})
    stack.attach(index, "body")
    stack.wait(index)
    client = stack.gateway.options(headers={"accept": "application/json", "content-type": "application/json"})
    for id_ in ("0", "1"):
        response = client.perform_request(
            "PUT", f"/{index}/_doc/{id_}", params={"wait_for": "embedded"}, body=written_back(stack, index, id_)
        )
        assert response.body["esblend"]["embedded"] == 1
        assert vectors(stack, index, id_)
    attachment = stack.call("GET", f"/_esblend/indices/{index}")["attachment"]
    from mappings.attachment import Attachment

    generation = Attachment.model_validate(attachment).generation
    source = {"title": "t", "body": LONG}
    stored = {"fingerprint": fingerprint(source, ["body"], generation), "state": "embedded", "passages": [{"start": 0}]}
    seen = [stack.wait(index)["embedded"]]
    stack.es.index(index=index, id="2", document={**source, "esblend": {"g1": stored}}, refresh=True)
    while not vectors(stack, index, "2"):
        stack.es.indices.refresh(index=index)
        status = stack.call("GET", f"/_esblend/indices/{index}/status")
        if not vectors(stack, index, "2"):
            seen.append(status["embedded"])
    assert set(seen) == {2}
    assert stack.wait(index)["embedded"] == 3


def test_external_versions_get_their_vectors_back(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index()
    stack.attach(index, "body", versioning="external")
    stack.es.index(index=index, id="0", document={"body": LONG}, version=5, version_type="external")
    stack.wait(index)
    before = vectors(stack, index, "0")
    stack.es.index(
        index=index, id="0", document=written_back(stack, index, "0"), version=6, version_type="external_gte"
    )
    wait_for("the vectors", lambda: vectors(stack, index, "0") == before)
    assert stack.es.get(index=index, id="0")["_version"] == 6
