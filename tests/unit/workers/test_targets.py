"""A range is done without work only when nobody needs its vectors any more."""

from typing import Any

import pytest

from esblend.broker import RangeTask
from esblend.errors import IndexUnavailable
from mappings.attachment import Attachment, Generation, ModelIdentity, PassageSettings, VectorOptions
from mappings.builder import detached_marks, mapping_additions
from workers.documents import target_in
from workers.step_back import is_workers_fault

GENERATION = Generation(
    model=ModelIdentity(name="m", digest="d", dims=3), passages=PassageSettings(), vector=VectorOptions()
)
ATTACHMENT = Attachment(field="esblend", source_fields=["body"], active="g1", generations={"g1": GENERATION})
META = ATTACHMENT.to_meta()
TASK = RangeTask(index="articles", uuid="u", generation="g1", shard=0, after=-1, until=9, max_documents=10)


def body(meta: Any, **keys: Any) -> dict[str, Any]:
    """An index with the fields of an attachment, and `meta` in `_meta.esblend`."""
    mapping = {"_meta": {"esblend": meta}, "properties": mapping_additions(ATTACHMENT), **keys}
    return {"settings": {"index": {"uuid": "u"}}, "mappings": mapping}


def test_an_attached_index_is_a_target() -> None:
    target = target_in(body(META), TASK)
    assert target is not None
    assert target.generation == GENERATION


@pytest.mark.parametrize(
    "meta",
    [None, {}, "text", {**META, "active": "g7"}, {**META, "generations": {"g1": {}}}, {**META, "generations": 1}],
)
def test_changes_wait_while_the_attachment_is_lost_or_damaged(meta: Any) -> None:
    with pytest.raises(IndexUnavailable, match="articles"):
        target_in(body(meta), TASK)


def test_an_attachment_of_a_newer_version_is_not_the_workers_fault() -> None:
    with pytest.raises(IndexUnavailable, match="this version") as raised:
        target_in(body({**META, "format": 2, "new": "key"}), TASK)
    assert not is_workers_fault(raised.value)


def test_nothing_waits_for_indices_that_are_gone_or_detached() -> None:
    detached = body(None)
    for field, marks in detached_marks(detached["mappings"]["properties"]).items():
        for generation, mark in marks["properties"].items():
            inside = detached["mappings"]["properties"][field]["properties"][generation]
            inside["properties"] = {**inside["properties"], **mark["properties"]}
    assert target_in(None, TASK) is None
    assert target_in(detached, TASK) is None
    assert target_in(body(META), TASK.model_copy(update={"uuid": "recreated"})) is None
    assert target_in(body(META), TASK.model_copy(update={"generation": "dropped"})) is None
