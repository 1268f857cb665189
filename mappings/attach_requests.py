"""Wishes: mappings that ask to be attached, as `semantic_text` makes its own. The feed finds them, a worker grants them.

A text field with `"meta": {"esblend": "true"}` or with a model's name in place of `true`, or `_meta.esblend` that holds the body
of an attach request (in an index template, for instance).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from elasticsearch import AsyncElasticsearch

from esblend.errors import InvalidRequest
from mappings.attachment import META_KEY, AttachRequest, parse_attach_request
from mappings.fields import TEXT_TYPES

_DEFAULT_MODEL = ("true", "default", "")


async def wishing_indices(es: AsyncElasticsearch) -> set[str]:
    """The indices whose mapping holds a wish; one that cannot be granted counts too."""
    found = await es.indices.get_mapping(
        index="*",
        expand_wildcards=["open", "hidden"],
        filter_path=f"*.mappings._meta.{META_KEY},*.mappings.properties.**.meta.{META_KEY}",
    )
    return {index for index, body in found.items() if _may_wish(body["mappings"])}


def _may_wish(mapping: Mapping[str, Any]) -> bool:
    meta = (mapping.get("_meta") or {}).get(META_KEY)
    return "generations" not in meta if isinstance(meta, Mapping) else bool(mapping.get("properties"))


def wish_of(mapping: Mapping[str, Any]) -> AttachRequest | None:
    """What a whole mapping asks for; None when it asks for nothing, or is attached.

    Raises InvalidRequest or MalformedRequest when it is no attach request, or its fields name different models.
    """
    meta = (mapping.get("_meta") or {}).get(META_KEY)
    if isinstance(meta, Mapping):
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
    """(dotted name, value of the mark) of each text field that bears one, in the order of the mapping."""
    for name, field in properties.items():
        mark = (field.get("meta") or {}).get(META_KEY)
        if mark is not None and field.get("type") in TEXT_TYPES:
            yield prefix + name, str(mark)
        elif "properties" in field and field.get("type") != "nested":
            yield from _marked_fields(field["properties"], f"{prefix}{name}.")
