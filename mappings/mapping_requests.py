"""Mappings that request an attachment, as `semantic_text` requests inference. The feed finds them (`mappings.attachment_survey`), a
worker attaches them.

A text field with `"meta": {"esblend": "true"}` or with a model's name instead of `true`, or `_meta.esblend` that holds the body
of an attach request (in an index template, for instance).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from esblend.errors import InvalidRequest
from mappings.attachment import META_KEY
from mappings.fields import TEXT_TYPES
from mappings.requests import AttachRequest, parse_attach_request

_DEFAULT_MODEL = ("true", "default", "")


def requested_attachment(mapping: Mapping[str, Any]) -> AttachRequest | None:
    """The attach request in a whole mapping; None when there is none, or the index is attached.

    Raises InvalidRequest or MalformedRequest when it is not a valid attach request, or its fields name different models.
    """
    meta = (mapping.get("_meta") or {}).get(META_KEY)
    if meta and isinstance(meta, Mapping):
        return None if "generations" in meta else parse_attach_request(dict(meta))
    fields = dict(_marked_fields(mapping.get("properties") or {}))
    if not fields:
        return None
    models = {model for model in fields.values() if model.lower() not in _DEFAULT_MODEL}
    if len(models) > 1:
        raise InvalidRequest(f"the fields' [meta.{META_KEY}] name different models: {', '.join(sorted(models))}")
    request: dict[str, Any] = {"source_fields": list(fields)}
    return parse_attach_request(request | ({"model": models.pop()} if models else {}))


def _marked_fields(properties: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted name, value of the mark) of each marked text field, in the order of the mapping."""
    for name, field in properties.items():
        mark = (field.get("meta") or {}).get(META_KEY)
        if mark is not None and field.get("type") in TEXT_TYPES:
            yield prefix + name, str(mark)
        elif "properties" in field and field.get("type") != "nested":
            yield from _marked_fields(field["properties"], f"{prefix}{name}.")
