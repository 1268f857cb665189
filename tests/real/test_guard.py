"""The guard removes vectors of older texts, and writers notice nothing."""

from collections.abc import Callable
from typing import Any

import pytest
from elasticsearch import ApiError
from hypothesis import given, settings
from hypothesis import strategies as st

from mappings.attachment import Attachment, Generation, ModelIdentity, PassageSettings, VectorOptions
from mappings.guard import guard_pipeline
from mappings.source import can_be_guarded, fingerprint
from tests.conftest import Stack

GENERATION = Generation(
    model=ModelIdentity(name="m", digest="d", dims=3), passages=PassageSettings(), vector=VectorOptions()
)
FIELDS = ["title", "body", "meta.abstract", "authors.name"]
ATTACHMENT = Attachment(
    field="esblend", source_fields=FIELDS, active="g1", generations={"g1": GENERATION}, guard=True
)  # fmt: skip

SHAPES: dict[str, dict[str, Any]] = {
    "strings": {"title": "T", "body": "B"},
    "nothing": {},
    "null": {"title": None, "body": "b"},
    "empty": {"title": "", "body": []},
    "an array": {"body": ["a", None, ["b", ["c"]], ""]},
    "numbers": {"body": [0, 5, -1, 2**31 - 1, 2**31, -(2**31), 2**62, 1.5, -0.0, 1e300, 0.1]},
    "truths": {"body": [True, False]},
    "an object where text is expected": {"body": {"deep": "x"}},
    "objects on the way": {"meta": {"abstract": "x"}},
    "a dotted key": {"meta.abstract": "x"},
    "both": {"meta": {"abstract": "x"}, "meta.abstract": "y"},
    "an array of objects": {"authors": [{"name": "A"}, {"name": ["B", "C"]}, {"other": 1}, "odd"]},
    "a dotted key within an array": {"authors": [{"name.first": "no"}, {"name": "A"}]},
    "control characters": {"body": "a\x00b\x01\r\n\t\u2028"},
    "emoji": {"body": "🚀👩‍👩‍👧 é e\u0301 中文 שלום"},
    "half a surrogate pair": {"body": "x\ud800y \udfff"},
    "quotes and backslashes": {"body": '"\\" \\n \\u0041'},
    "a long text": {"body": "lorem ipsum " * 20_000},
    "numbers as text": {"body": ["1", "1.0", "true"]},
}


def after_the_pipeline(stack: Stack, *sources: dict[str, Any]) -> list[dict[str, Any]]:
    """What becomes of documents whose vectors claim the fingerprint that the worker computes."""
    docs = [
        {
            "_source": {
                **source,
                "esblend": {"g1": {"fingerprint": fingerprint(source, FIELDS, GENERATION), "state": "s"}},
            }
        }
        for source in sources
    ]
    answer = stack.es.ingest.simulate(docs=docs, pipeline=guard_pipeline(ATTACHMENT))
    return [dict(result["doc"]["_source"]) for result in answer["docs"]]


@pytest.mark.parametrize("shape", SHAPES)
def test_pipeline_and_worker_compute_the_same_fingerprint(stack: Stack, shape: str) -> None:
    [stored] = after_the_pipeline(stack, SHAPES[shape])
    assert stored["esblend"]["g1"]["fingerprint"] == fingerprint(SHAPES[shape], FIELDS, GENERATION)
    assert stored.keys() == SHAPES[shape].keys() | {"esblend"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "abstract", "x"]), inner, max_size=2),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=15)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(["title", "body", "meta", "meta.abstract", "authors"]), json_values),
        min_size=20,
        max_size=20,
    )
)
def test_they_agree_on_any_source(stack: Stack, sources: list[dict[str, Any]]) -> None:
    sources = [source for source in sources if can_be_guarded(source, FIELDS)]
    for source, stored in zip(sources, after_the_pipeline(stack, *sources) if sources else [], strict=True):
        assert "esblend" in stored, f"the pipeline computed another fingerprint for {source!r}"


def test_vectors_of_another_text_are_dropped(stack: Stack) -> None:
    doc = {"body": "new", "esblend": {"g1": {"fingerprint": fingerprint({"body": "old"}, FIELDS, GENERATION)}}}
    answer = stack.es.ingest.simulate(docs=[{"_source": doc}], pipeline=guard_pipeline(ATTACHMENT))
    assert answer["docs"][0]["doc"]["_source"] == {"body": "new"}


def stored_source(stack: Stack, index: str, id_: str) -> dict[str, Any]:
    return dict(stack.es.get(index=index, id=id_)["_source"])


def has_vectors_after(stack: Stack, index: str, id_: str, **update: Any) -> bool:
    """Whether the very version that an update made holds vectors. The feed may make the next before it is read: again."""
    while True:
        answer = stack.es.update(index=index, id=id_, **update)
        document = stack.es.get(index=index, id=id_)
        if document["_seq_no"] == answer["_seq_no"]:
            return "esblend" in document["_source"]
        stack.wait(index)


def test_a_partial_update_drops_the_vector_at_once(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index({"title": "t", "body": "the old text"}, {"body": "another"})
    stack.attach(index, "body", guard=True)
    stack.wait(index)
    assert stored_source(stack, index, "0")["esblend"]["g1"]["state"] == "embedded"
    assert not has_vectors_after(stack, index, "0", doc={"body": "a new text"})
    assert stack.wait(index)["embedded"] == 2
    assert has_vectors_after(stack, index, "1", doc={"title": "text untouched"})
    assert not has_vectors_after(stack, index, "1", script={"source": "ctx._source.body += '!'"})
    assert stack.wait(index)["embedded"] == 2


def test_the_index_keeps_its_own_final_pipeline(stack: Stack, make_index: Callable[..., str]) -> None:
    refuse = {"fail": {"if": "ctx.title == 'refuse'", "message": "no"}}
    stack.es.ingest.put_pipeline(id="own-final", processors=[{"set": {"field": "seen", "value": True}}, refuse])
    index = make_index(**{"final_pipeline": "own-final"})
    stack.attach(index, "body", guard=True)
    stack.es.index(index=index, id="a", document={"body": "text"})
    with pytest.raises(ApiError, match="no"):
        stack.es.index(index=index, id="b", document={"title": "refuse"})
    stack.wait(index)
    assert stored_source(stack, index, "a")["seen"] is True
    assert stored_source(stack, index, "a")["esblend"]["g1"]["state"] == "embedded"
    stack.call("DELETE", f"/_esblend/indices/{index}")
    setting = stack.es.indices.get_settings(index=index, flat_settings=True)[index]["settings"]
    assert setting["index.final_pipeline"] == "own-final"


def test_a_number_that_cannot_be_fingerprinted_is_a_dead_letter(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index({"body": 2**70}, {"body": "fine"})
    stack.attach(index, "body", guard=True)
    status = stack.wait(index)
    assert status["embedded"] == 1
    letters = stack.call("GET", "/_esblend/dead-letters", index=index)
    assert "beyond 64 bits" in letters["dead_letters"][0]["error"]
