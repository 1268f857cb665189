"""What the guard covers, and pipelines with external versions, as docs/attach.md says."""

from collections.abc import Callable, Iterator

import pytest
from elasticsearch import BadRequestError

from tests.conftest import Stack
from tests.real.faults import with_vectors


@pytest.fixture
def guarded(stack: Stack, make_index: Callable[..., str]) -> str:
    index = make_index({"body": "Whales sing."}, {"body": "Bread is baked."})
    stack.attach(index, "body", guard=True)
    stack.wait(index)
    stack.call("POST", f"/_esblend/indices/{index}/backfill", {"paused": True})
    return index


def has_vector_of_older_text(stack: Stack, index: str, id_: str, seq_no: int) -> bool | None:
    """Whether the version with `seq_no` has vectors; None when a worker has written a newer version."""
    hit = stack.es.get(index=index, id=id_)
    return None if hit["_seq_no"] != seq_no else "esblend" in hit["_source"]


def test_the_guard_covers_whole_documents_in_bulk_and_updates_by_query(stack: Stack, guarded: str) -> None:
    source = with_vectors(stack, guarded, "0")
    written = stack.es.bulk(index=guarded, operations=[{"index": {"_id": "0"}}, {**source, "body": "Another text."}])
    assert has_vector_of_older_text(stack, guarded, "0", written["items"][0]["index"]["_seq_no"]) in (False, None)
    stack.wait(guarded)
    stack.es.indices.refresh(index=guarded)
    stack.es.update_by_query(index=guarded, script={"source": "ctx._source.body += ' More.'"}, conflicts="proceed")
    sources = stack.es.mget(index=guarded, ids=["0", "1"])["docs"]
    fingerprints = {doc["_id"]: doc["_source"].get("esblend", {}).get("g1", {}).get("fingerprint") for doc in sources}
    stack.wait(guarded)
    after = stack.es.mget(index=guarded, ids=["0", "1"])["docs"]
    for doc in after:  # either removed by the guard, or already written by a worker for the new text
        assert fingerprints[doc["_id"]] in (None, doc["_source"]["esblend"]["g1"]["fingerprint"])


def test_an_update_in_bulk_gets_its_new_vector_from_the_feed(stack: Stack, guarded: str) -> None:
    before = stack.es.get(index=guarded, id="0")["_source"]["esblend"]["g1"]["fingerprint"]
    stack.es.bulk(index=guarded, operations=[{"update": {"_id": "0"}}, {"doc": {"body": "Rockets fly."}}])
    assert stack.wait(guarded)["embedded"] == 2
    assert stack.es.get(index=guarded, id="0")["_source"]["esblend"]["g1"]["fingerprint"] != before


@pytest.fixture
def pipelines(stack: Stack) -> Iterator[None]:
    append = {"script": {"source": "ctx.body = ctx.body + '!'"}}
    trim = {"trim": {"field": "body", "ignore_missing": True}}
    stack.es.ingest.put_pipeline(id="changes-each-time", processors=[append])
    stack.es.ingest.put_pipeline(id="idempotent", processors=[trim])
    yield
    for name in ("changes-each-time", "idempotent"):
        stack.es.options(ignore_status=[400, 404]).ingest.delete_pipeline(id=name)


def test_an_empty_index_is_checked_with_an_invented_document(
    stack: Stack, make_index: Callable[..., str], pipelines: None
) -> None:
    index = make_index(final_pipeline="changes-each-time")
    with pytest.raises(BadRequestError, match=r"\[changes-each-time\].*idempotent"):
        stack.attach(index, "body", versioning="external")
    stack.es.indices.put_settings(index=index, settings={"index.final_pipeline": "idempotent"})
    stack.attach(index, "body", versioning="external")


@pytest.mark.parametrize("guard", [False, True])
def test_a_final_pipeline_that_changes_the_text_each_time(
    stack: Stack, make_index: Callable[..., str], pipelines: None, guard: bool
) -> None:
    index = make_index({"body": "Whales"}, final_pipeline="changes-each-time")
    with pytest.raises(BadRequestError, match=r"\[changes-each-time\].*idempotent"):
        stack.attach(index, "body", versioning="external", guard=guard)
    stack.es.indices.put_settings(index=index, settings={"index.final_pipeline": "idempotent"})
    stack.attach(index, "body", versioning="external", guard=guard)
    assert stack.wait(index)["embedded"] == 1
    assert stack.esblend("verify", index, "--json").returncode == 0
