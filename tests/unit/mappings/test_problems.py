"""Settings that prevent embedding, also those that the tests' Elasticsearch cannot have."""

import pytest

from mappings.attachment import Adopted, Attachment, Generation, ModelIdentity, PassageSettings, VectorOptions
from mappings.guard import guard_pipeline, pipeline_name
from mappings.problems import current_problems, guard_problem, name_problem, problems_of

MAPPING = {"properties": {"body": {"type": "text"}}}


def attachment(*, adopted: bool = False) -> Attachment:
    generation = Generation(
        model=ModelIdentity(name="m", digest="d", dims=3), passages=PassageSettings(), vector=VectorOptions(),
        adopted=Adopted(field="v") if adopted else None,
    )  # fmt: skip
    return Attachment(field="esblend", source_fields=["body"], active="g1", generations={"g1": generation}, guard=True)


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"index.xpack.ccr.following_index": "true"}, "attach the leader index"),
        ({"index.store.type": "snapshot"}, "restore it"),
        ({"index.blocks.read_only_allow_delete": "true"}, "free disk space"),
        ({"index.mapping.source.mode": "disabled"}, "re-index"),
    ],
)
def test_each_problem_names_its_setting_and_the_way_out(settings: dict[str, str], advice: str) -> None:
    [problem] = problems_of("i", settings, MAPPING, attachment())
    assert problem.setting in ("_source", *settings)
    assert "[i]" in problem.detail
    assert advice in problem.advice
    assert problem.prevents_embedding


def test_an_index_with_default_settings_has_no_problem() -> None:
    assert problems_of("i", {"index.number_of_shards": "1"}, MAPPING, attachment()) == []


def test_a_source_field_that_is_gone_is_a_problem() -> None:
    [problem] = problems_of("i", {}, {"properties": {"body": {"type": "keyword"}}}, attachment())
    assert "['body']" in problem.detail


def test_an_index_whose_vectors_are_only_searched_may_be_read_only() -> None:
    assert problems_of("i", {"index.blocks.write": "true"}, MAPPING, attachment(adopted=True)) == []


def test_a_guard_that_is_not_the_final_pipeline() -> None:
    assert guard_problem("i", {"index.final_pipeline": pipeline_name("i")}, attachment()) is None
    problem = guard_problem("i", {"index.final_pipeline": "other"}, attachment())
    assert problem is not None
    assert not problem.prevents_embedding
    assert "--restore" in problem.advice


def test_a_guard_whose_pipeline_was_changed() -> None:
    settings = {"index.final_pipeline": pipeline_name("i")}
    assert guard_problem("i", settings, attachment(), {pipeline_name("i"): guard_pipeline(attachment())}) is None
    problem = guard_problem("i", settings, attachment(), {pipeline_name("i"): {"processors": []}})
    assert problem is not None
    assert "another client has changed" in problem.detail


@pytest.mark.parametrize("name", ["i", "original"])
def test_a_guard_whose_pipeline_does_not_exist_rejects_all_writes(name: str) -> None:
    """The index was restored from a snapshot, in another cluster or under another name."""
    problem = guard_problem("i", {"index.final_pipeline": pipeline_name(name)}, attachment(), {})
    assert problem is not None
    assert problem.prevents_embedding
    assert "rejects all writes" in problem.detail
    assert "--restore" in problem.advice


def test_a_source_field_that_receives_copied_values_since_the_attachment() -> None:
    mapping = {"properties": {"body": {"type": "text"}, "head": {"type": "text", "copy_to": ["body"]}}}
    settings = {"index.final_pipeline": pipeline_name("i")}
    [problem] = current_problems("i", settings, mapping, attachment())
    assert problem.setting == "copy_to"
    assert "[head]" in problem.detail
    assert not problem.prevents_embedding


def test_backing_indices_of_data_streams_are_no_system_indices() -> None:
    assert name_problem(".ds-logs-2026.01.01-000001") is None
    assert name_problem(".kibana") is not None


def test_a_small_result_window_limits_searches_only() -> None:
    [problem] = problems_of("i", {"index.max_result_window": "50"}, MAPPING, attachment())
    assert problem.setting == "index.max_result_window"
    assert not problem.prevents_embedding
