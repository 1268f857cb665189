"""Which updates in `_bulk` are rewritten, and into what."""

from typing import Any

import pytest

from mappings.attachment import Attachment, Generation, ModelIdentity, PassageSettings, VectorOptions
from mappings.guarded_update import guarded_update

GENERATION = Generation(
    model=ModelIdentity(name="m", digest="d", dims=3), passages=PassageSettings(), vector=VectorOptions()
)
ATTACHMENT = Attachment(
    field="esblend", source_fields=["body", "meta.abstract"], active="g2", generations={"g1": GENERATION, "g2": GENERATION},
    guard=True,
)  # fmt: skip


@pytest.mark.parametrize(
    "doc",
    [{"body": "x"}, {"body": None}, {"meta": {"abstract": "x"}}, {"meta.abstract": "x"}, {"meta": None}, {"meta": ["x"]},
     {"esblend": {}}],
)  # fmt: skip
def test_updates_that_may_change_a_text_become_scripts(doc: dict[str, Any]) -> None:
    rewritten = guarded_update({"doc": doc, "_source": True}, ATTACHMENT, is_piped=False)
    assert rewritten is not None
    assert rewritten["script"]["params"]["doc"] == doc
    assert rewritten["script"]["params"]["generations"] == ["g1", "g2"]
    assert rewritten.keys() == {"_source", "script"}


@pytest.mark.parametrize(
    "body",
    [{"doc": {"title": "x"}}, {"doc": {"meta": {"other": 1}}}, {"doc": {"meta.other": 1}}, {"script": {"id": "s"}}, {"doc": 1},
     {"doc": {"body": "x"}, "script": "y"}, {"doc": {"body": "x"}, "unknown": 1}, {}],
)  # fmt: skip
def test_other_updates_stay_as_they_are(body: dict[str, Any]) -> None:
    assert guarded_update(body, ATTACHMENT, is_piped=False) is None


def test_upserts_keep_their_document() -> None:
    rewritten = guarded_update({"doc": {"body": "x"}, "doc_as_upsert": True}, ATTACHMENT, is_piped=False)
    assert rewritten is not None
    assert rewritten["upsert"] == {"body": "x"}
    assert "doc_as_upsert" not in rewritten
    rewritten = guarded_update({"doc": {"body": "x"}, "upsert": {"n": 1}}, ATTACHMENT, is_piped=False)
    assert rewritten is not None
    assert rewritten["upsert"] == {"n": 1}


def test_a_pipeline_on_upserts_removes_vectors_whatever_the_text() -> None:
    body = {"doc": {"title": "x"}, "doc_as_upsert": True}
    rewritten = guarded_update(body, ATTACHMENT, is_piped=True)
    assert rewritten == {**body, "doc": {"title": "x", "esblend": {"g1": None, "g2": None}}}
