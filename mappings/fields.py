"""Looks up fields in a mapping and checks that they can be embedded, searched or adopted."""

from collections.abc import Iterator, Mapping
from typing import Any

from esblend.errors import InvalidRequest
from mappings.attachment import Adopted
from mappings.requests import AttachRequest

TEXT_TYPES = frozenset({"text", "match_only_text", "annotated_text", "search_as_you_type"})


def check_text_fields(index: str, properties: Mapping[str, Any], request: AttachRequest) -> None:
    """Raises InvalidRequest unless all fields that the request embeds or searches by default are text."""
    for field in (*request.source_fields, *(request.defaults.fields or ())):
        check_text_field(index, properties, field.partition("^")[0])


def check_text_field(index: str, properties: Mapping[str, Any], field: str) -> None:
    """Raises InvalidRequest unless `field` (dotted) is a text field outside nested objects."""
    mapped = _find(index, properties, field)
    if mapped is None:
        known = ", ".join(f"[{name}]" for name in text_fields(properties)) or "none"
        raise InvalidRequest(f"index [{index}] has no field [{field}] in its mapping; its text fields: {known}")
    kind = mapped.get("type", "object")
    if kind not in TEXT_TYPES:
        raise InvalidRequest(
            f"field [{field}] of index [{index}] is of type [{kind}]; only text fields can be embedded"
        )


def adopted_field(index: str, properties: Mapping[str, Any], adopted: Adopted | None) -> Mapping[str, Any] | None:
    """The mapping of the `dense_vector` to adopt, if any. Raises InvalidRequest when kNN cannot search it."""
    if adopted is None:
        return None
    mapped = _find(index, properties, adopted.field)
    if mapped is None or mapped.get("type") != "dense_vector":
        known = ", ".join(f"[{name}]" for name in _fields_of(properties, {"dense_vector"})) or "none"
        raise InvalidRequest(
            f"[adopt.field]: index [{index}] has no dense_vector [{adopted.field}]; its vector fields: {known}"
        )
    if mapped.get("index") is False or mapped.get("element_type", "float") not in ("float", "bfloat16"):
        raise InvalidRequest(f"[adopt.field]: [{adopted.field}] must be indexed and of element type float or bfloat16")
    return mapped


def text_fields(properties: Mapping[str, Any]) -> list[str]:
    """Dotted names of all text fields outside nested objects, in the order of the mapping."""
    return list(_fields_of(properties, TEXT_TYPES))


def _fields_of(properties: Mapping[str, Any], types: frozenset[str] | set[str], prefix: str = "") -> Iterator[str]:
    for name, field in properties.items():
        if field.get("type") in types:
            yield prefix + name
        elif "properties" in field and field.get("type") != "nested":
            yield from _fields_of(field["properties"], types, f"{prefix}{name}.")


def _find(index: str, properties: Mapping[str, Any], field: str) -> Mapping[str, Any] | None:
    """The mapping of a dotted name; None when there is no such field. Raises InvalidRequest for a field inside a nested one."""
    level: Mapping[str, Any] = properties
    mapped: Mapping[str, Any] | None = None
    for step in field.split("."):
        mapped = level.get(step)
        if mapped is None:
            return None
        if mapped.get("type") == "nested":
            raise InvalidRequest(
                f"field [{field}] of index [{index}] is inside the nested field [{step}]: "
                "only fields outside nested ones can be embedded"
            )
        level = mapped.get("properties") or {}
    return mapped
