"""Settings and mappings that prevent embedding or search. Attach calls reject such an index; status and doctor report it later."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mappings.attachment import Attachment
from mappings.fields import fields_copied_to, text_fields
from mappings.guard import is_guard_name, is_guard_pipeline, pipeline_name
from mappings.index_state import is_closed, result_window

MIN_RESULT_WINDOW = 1000
"""Hybrid searches have windows of up to 1,000 documents. Everything else adapts its pages to the index."""
_MIN_NESTED_OBJECTS = 100
_DEFAULT_NESTED_OBJECTS = 10_000
_BLOCKS = ("read_only_allow_delete", "read_only", "read", "write", "metadata")
_OWN_INDICES = ("esblend-checkpoints", "esblend-dead-letters", "esblend-mean-vectors", "esblend-clicks")
_DATA_STREAM_PREFIXES = (".ds-", ".migrated-ds-", ".reindexed-")


@dataclass(frozen=True)
class Problem:
    """`setting` is the responsible setting or part of the mapping, `advice` says how to fix it."""

    setting: str
    detail: str
    advice: str
    prevents_embedding: bool = True
    """False: documents still get vectors, but something else that the attachment promises does not hold."""

    def __str__(self) -> str:
        return f"{self.detail}: {self.advice}"


def problems_of(
    index: str, settings: Mapping[str, Any], mapping: Mapping[str, Any], attachment: Attachment
) -> list[Problem]:
    """All problems of an index with an attachment, the most serious first; empty when all is well.

    `settings`: flat (`{"index.blocks.write": "true"}`), as `flat_settings=true` returns them; without defaults.
    """
    if is_closed(settings):
        return [Problem("index.verified_before_close", f"index [{index}] is closed", f"open it: POST /{index}/_open")]
    always = [*_window_problems(index, settings, attachment), *_field_problems(index, mapping, attachment)]
    if not attachment.generation.is_followed:  # esblend neither reads changes nor writes vectors
        return always
    return [*_source_problems(index, settings, mapping), *_mode_problems(index, settings, attachment), *always]


def name_problem(index: str) -> Problem | None:
    """Why an index of this name cannot be attached: it belongs to esblend, Elasticsearch or Kibana. None if it can."""
    if index in _OWN_INDICES:
        return Problem("name", f"index [{index}] belongs to esblend", "attach an index of your own")
    if index.startswith(".") and not index.startswith(_DATA_STREAM_PREFIXES):
        return Problem(
            "name", f"index [{index}] is named as a system index (its name starts with a dot)",
            "re-index the documents into an index with another name, and attach that",
        )  # fmt: skip
    return None


def _source_problems(index: str, settings: Mapping[str, Any], mapping: Mapping[str, Any]) -> Iterator[Problem]:
    source = mapping.get("_source") or {}
    if source.get("enabled") is False or "disabled" in (source.get("mode"), settings.get("index.mapping.source.mode")):
        yield Problem(
            "_source", f"index [{index}] does not store [_source], so its texts cannot be read",
            "re-index with [_source] enabled",
        )  # fmt: skip
    if source.get("includes") or source.get("excludes"):
        yield Problem(
            "_source", f"index [{index}] stores only a part of [_source], and a partial update would lose the rest",
            "re-index without [_source.includes] and [_source.excludes]",
        )  # fmt: skip


def _mode_problems(index: str, settings: Mapping[str, Any], attachment: Attachment) -> Iterator[Problem]:
    if settings.get("index.disable_sequence_numbers") == "true":
        yield Problem(
            "index.disable_sequence_numbers",
            f"index [{index}] has [index.disable_sequence_numbers] set, and the change feed reads sequence numbers",
            "re-index into an index without this setting",
        )
    if settings.get("index.mode") == "time_series":
        yield Problem(
            "index.mode",
            f"index [{index}] has [index.mode: time_series], where Elasticsearch allows no updates of documents",
            "re-index into an index with another [index.mode]",
        )
    elif attachment.is_nested and (settings.get("index.sort.field") or settings.get("index.mode") == "logsdb"):
        yield Problem(
            "index.sort.field",
            f"index [{index}] is sorted ([index.sort.field], or by its [index.mode]), and Elasticsearch allows no nested "
            "fields there",
            "attach it with [vector.layout: flat], one vector per document",
        )
    if settings.get("index.xpack.ccr.following_index") == "true":
        yield Problem(
            "index.xpack.ccr.following_index",
            f"index [{index}] is a follower of cross-cluster replication, so only the leader can be written",
            "attach the leader index in its own cluster (vectors are replicated with the documents), or unfollow this one",
        )
    if settings.get("index.store.type") == "snapshot":
        yield Problem(
            "index.store.type", f"index [{index}] is a mounted snapshot, so vectors cannot be written",
            "restore it as a regular index",
        )  # fmt: skip
    for block in _BLOCKS:
        if settings.get(f"index.blocks.{block}") == "true":
            fix = "free disk space, then set it to null" if block == "read_only_allow_delete" else "set it to false"
            yield Problem(
                f"index.blocks.{block}",
                f"index [{index}] has [index.blocks.{block}] set, so vectors cannot be "
                f"{'read' if block == 'read' else 'written'}",
                fix,
            )


def _window_problems(index: str, settings: Mapping[str, Any], attachment: Attachment) -> Iterator[Problem]:
    window = result_window(settings)
    if window < MIN_RESULT_WINDOW:
        yield Problem(
            "index.max_result_window",
            f"index [{index}] has [index.max_result_window] {window}, and hybrid searches have windows of up to "
            f"{MIN_RESULT_WINDOW} documents",
            f"raise it to {MIN_RESULT_WINDOW} or more",
            prevents_embedding=False,
        )
    nested = int(settings.get("index.mapping.nested_objects.limit", _DEFAULT_NESTED_OBJECTS))
    if attachment.is_nested and nested < _MIN_NESTED_OBJECTS:
        yield Problem(
            "index.mapping.nested_objects.limit",
            f"index [{index}] has [index.mapping.nested_objects.limit] {nested}, and each passage of a document is a nested "
            "object",
            f"raise it to {_MIN_NESTED_OBJECTS} or more, or attach with [vector.layout: flat]",
        )


def _field_problems(index: str, mapping: Mapping[str, Any], attachment: Attachment) -> Iterator[Problem]:
    if mapping.get("subobjects") is False:
        yield Problem(
            "subobjects", f"the mapping of index [{index}] has [subobjects: false] at its root, which excludes object fields",
            "re-index with [subobjects: false] only on the objects that need it",
        )  # fmt: skip
    known = text_fields(mapping.get("properties") or {})
    missing = [field for field in attachment.source_fields if field not in known]
    if missing:
        yield Problem(
            "properties", f"the source fields {missing} of index [{index}] are not text fields of its mapping",
            "detach it, then attach it with other fields",
        )  # fmt: skip


def _copy_problems(index: str, mapping: Mapping[str, Any], attachment: Attachment) -> Iterator[Problem]:
    """Attach calls reject such fields."""
    for field in attachment.source_fields:
        copied = ", ".join(f"[{name}]" for name in fields_copied_to(mapping.get("properties") or {}, field))
        if copied:
            yield Problem(
                "copy_to",
                f"source field [{field}] of index [{index}] receives the values of {copied} by [copy_to], and documents do not "
                "contain copied values: their vectors lack them",
                f"detach it, then attach it with {copied}",
                prevents_embedding=False,
            )


def current_problems(
    index: str,
    settings: Mapping[str, Any],
    mapping: Mapping[str, Any],
    attachment: Attachment,
    pipelines: Mapping[str, Any] | None = None,
) -> list[Problem]:
    """The problems of an attached index, as `problems_of`, with values that came to be copied and a guard without effect.

    `pipelines`: the ingest pipelines of guards by name; None when this user may not read them.
    """
    guard = guard_problem(index, settings, attachment, pipelines)
    copied = _copy_problems(index, mapping, attachment)
    return [*problems_of(index, settings, mapping, attachment), *copied, *([guard] if guard else [])]


def guard_problem(
    index: str, settings: Mapping[str, Any], attachment: Attachment, pipelines: Mapping[str, Any] | None = None
) -> Problem | None:
    """Why the guard has no effect, if so. `pipelines`: as for `current_problems`."""
    if not attachment.guard:
        return None
    pipeline, current = pipeline_name(index), settings.get("index.final_pipeline")
    restore = f"esblend attach {index} --restore, or POST /_esblend/indices/{index}/_restore"
    if pipelines is not None and is_guard_name(current) and current not in pipelines:  # restored in another cluster
        return Problem(
            "index.final_pipeline",
            f"index [{index}] rejects all writes: its [index.final_pipeline] is [{current}], which does not exist in this cluster",
            restore,
        )
    if current != pipeline:
        cause = f"[index.final_pipeline] is [{current}], not [{pipeline}]"
    elif pipelines is not None and not is_guard_pipeline(pipelines.get(pipeline), attachment):
        cause = f"another client has changed its ingest pipeline [{pipeline}]"
    else:
        return None
    return Problem(
        "index.final_pipeline",
        f"the guard of index [{index}] has no effect: {cause}",
        restore,
        prevents_embedding=False,
    )
