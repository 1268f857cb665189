"""Looks up fields in a mapping and checks that they can be embedded, searched or adopted."""

from collections.abc import Iterator, Mapping
from typing import Any

from esblend.blend_vocabulary import has_valid_boost
from esblend.errors import InvalidRequest
from mappings.attachment import Adopted, QueryDefaults
from mappings.requests import AttachRequest

TEXT_TYPES = frozenset({"text", "match_only_text", "annotated_text", "search_as_you_type"})


def check_text_fields(index: str, properties: Mapping[str, Any], request: AttachRequest) -> None:
    """Raises InvalidRequest unless the request's source fields can be embedded and its default fields can be searched."""
    for field in request.source_fields:
        _check_source_field(index, properties, field)
    check_default_fields(index, properties, request.defaults)


def check_default_fields(index: str, properties: Mapping[str, Any], defaults: QueryDefaults) -> None:
    """Raises InvalidRequest unless the default fields of queries and of profiles can be searched."""
    for options in (defaults, *(defaults.profiles or {}).values()):
        for field in options.fields or ():
            _check_searched_field(index, properties, field)


def _check_searched_field(index: str, properties: Mapping[str, Any], field: str) -> None:
    """Raises InvalidRequest unless `field` (dotted, with or without `^boost`) is a text field or multi-field outside nested
    objects."""
    if not has_valid_boost(field):
        raise InvalidRequest(f"[defaults.fields] has [{field}]; a boost is a number of at least 0, as in [title^2]")
    name = field.partition("^")[0]
    mapped = _find(index, properties, name) or _multi_field(index, properties, name)
    _check_is_text(index, properties, name, mapped, "searched")


def _check_source_field(index: str, properties: Mapping[str, Any], field: str) -> None:
    """Raises InvalidRequest unless documents contain `field` (dotted) and it is a text field outside nested objects."""
    mapped = _find(index, properties, field)
    if mapped is None and _multi_field(index, properties, field) is not None:
        parent = field.rpartition(".")[0]
        kind = (_find(index, properties, parent) or {}).get("type")
        fix = f"attach [{parent}]" if kind in TEXT_TYPES else "map the text as a separate field, and attach that field"
        raise InvalidRequest(
            f"[{field}] of index [{index}] is a multi-field; documents contain only [{parent}], of type [{kind}]: {fix}"
        )
    if mapped is not None and mapped.get("type") == "alias":
        raise InvalidRequest(f"[{field}] of index [{index}] is an alias: attach the field [{mapped.get('path')}]")
    _check_is_text(index, properties, field, mapped, "embedded")
    if "^" in field:
        raise InvalidRequest(
            f"the name of field [{field}] of index [{index}] contains [^], which searches read as a boost: "
            "re-index into a field with another name"
        )
    copied = list(fields_copied_to(properties, field))
    if copied:
        raise InvalidRequest(
            f"field [{field}] of index [{index}] receives the values of {', '.join(f'[{name}]' for name in copied)} by "
            "[copy_to], and documents do not contain copied values: attach those fields"
        )


def _check_is_text(
    index: str, properties: Mapping[str, Any], field: str, mapped: Mapping[str, Any] | None, purpose: str
) -> None:
    if mapped is None:
        known = ", ".join(f"[{name}]" for name in text_fields(properties)) or "none"
        raise InvalidRequest(f"index [{index}] has no field [{field}] in its mapping; its text fields: {known}")
    kind = mapped.get("type", "object")
    if kind not in TEXT_TYPES:
        raise InvalidRequest(
            f"field [{field}] of index [{index}] is of type [{kind}]; only text fields can be {purpose}"
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


def _fields_of(properties: Mapping[str, Any], types: frozenset[str] | set[str]) -> Iterator[str]:
    for name, field in _walk(properties):
        if field.get("type") in types:
            yield name


def fields_copied_to(properties: Mapping[str, Any], target: str) -> Iterator[str]:
    """Dotted names of the fields whose values Elasticsearch copies to `target`."""
    for name, field in _walk(properties):
        copies = field.get("copy_to") or []
        if target in ([copies] if isinstance(copies, str) else copies):
            yield name


def _walk(properties: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(dotted name, mapping) of all fields outside nested objects, in the order of the mapping."""
    for name, field in properties.items():
        yield prefix + name, field
        if "properties" in field and field.get("type") != "nested":
            yield from _walk(field["properties"], f"{prefix}{name}.")


def _find(index: str, properties: Mapping[str, Any], field: str) -> Mapping[str, Any] | None:
    """The mapping of a dotted name; None when the field does not exist. With `subobjects: false`, the keys of a mapping contain
    dots themselves. Raises InvalidRequest for a field inside a nested one."""
    if field in properties and properties[field].get("type") != "nested":
        return dict(properties[field])
    steps = field.split(".")
    for cut in range(1, len(steps) + 1):
        head, rest = ".".join(steps[:cut]), ".".join(steps[cut:])
        inside = properties.get(head)
        if inside is None:
            continue
        if inside.get("type") == "nested":
            raise InvalidRequest(
                f"field [{field}] of index [{index}] is inside the nested field [{head}]: "
                "only fields outside nested ones can be embedded"
            )
        mapped = _find(index, inside.get("properties") or {}, rest) if rest else None
        if mapped is not None:
            return mapped
    return None


def _multi_field(index: str, properties: Mapping[str, Any], field: str) -> Mapping[str, Any] | None:
    parent, _, name = field.rpartition(".")
    mapped = _find(index, properties, parent) if parent else None
    multi_field: Mapping[str, Any] | None = ((mapped or {}).get("fields") or {}).get(name)
    return multi_field
