"""Attaches index and component templates: every index created from one later has the attachment in its mapping."""

from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from elasticsearch import AsyncElasticsearch, NotFoundError

from esblend.errors import AlreadyAttached, IndexNotFound, InvalidRequest, NotAttached
from mappings.attachment import META_KEY, Attachment, read_attachment
from mappings.builder import mapping_additions
from mappings.capabilities import check_version, read_version
from mappings.fields import check_text_fields
from mappings.lifecycle import choose_field
from mappings.new_generation import Models, make_generation
from mappings.requests import AttachRequest

Kind = Literal["index", "component"]
_PATHS = {"index": "/_index_template/", "component": "/_component_template/"}
_LISTS = {"index": "index_templates", "component": "component_templates"}
_JSON = {"accept": "application/json", "content-type": "application/json"}


@dataclass(frozen=True)
class AttachedTemplate:
    name: str
    attachment: Attachment
    changed: bool
    additions: dict[str, Any]


async def attach_template(
    es: AsyncElasticsearch, name: str, kind: Kind, request: AttachRequest, models: Models, *, dry_run: bool = False
) -> AttachedTemplate:
    """Put an attachment into the mapping of an index or component template. Repeating the same call changes nothing.

    Existing indices do not change. Raises IndexNotFound, InvalidRequest or AlreadyAttached.
    """
    if request.guard:
        raise InvalidRequest(
            "[guard] works for an index, not for a template: attach the index itself, or leave the guard out"
        )
    if request.adopt is not None:
        raise InvalidRequest("[adopt] works for an index, not for a template: attach the index itself")
    body = await _read(es, name, kind)
    mapping = ((body.get("template") or {}).get("mappings")) or {}
    resolved = await _resolved(es, name) if kind == "index" else mapping
    check_text_fields(name, resolved.get("properties") or {}, request)
    generation = make_generation(request, models)
    version = await read_version(es)
    if version is not None:
        check_version(version, generation.vector)
    field, number = choose_field(resolved.get("properties") or {})
    attachment = Attachment(
        field=field, source_fields=request.source_fields, active=f"g{number}", generations={f"g{number}": generation},
        versioning=request.versioning, defaults=request.defaults,
    )  # fmt: skip
    present = read_attachment(mapping)
    if present is not None:
        if (present.source_fields, present.generation, present.defaults) != (
            attachment.source_fields, generation, attachment.defaults
        ):  # fmt: skip
            raise AlreadyAttached(
                f"template [{name}] is already attached with other settings: DELETE its attachment first",
                command_line=f"template [{name}] is already attached with other settings: "
                f"esblend detach {name} --template {kind} first",
            )
        return AttachedTemplate(name, present, changed=False, additions={})
    additions = mapping_additions(attachment)
    if not dry_run:
        changed = {
            **mapping, "properties": {**(mapping.get("properties") or {}), **additions},
            "_meta": {**(mapping.get("_meta") or {}), META_KEY: attachment.to_meta()},
        }  # fmt: skip
        await _put(es, name, kind, body, changed)
    return AttachedTemplate(name, attachment, changed=True, additions=additions)


async def show_template(es: AsyncElasticsearch, name: str, kind: Kind) -> Attachment:
    """Raises IndexNotFound or NotAttached."""
    attachment = read_attachment(((await _read(es, name, kind)).get("template") or {}).get("mappings") or {})
    if attachment is None:
        raise NotAttached(f"template [{name}] is not attached")
    return attachment


async def detach_template(es: AsyncElasticsearch, name: str, kind: Kind) -> None:
    """Remove the attachment and its fields from a template; existing indices keep theirs. Raises IndexNotFound or NotAttached."""
    attachment = await show_template(es, name, kind)
    body = await _read(es, name, kind)
    mapping = body["template"]["mappings"]
    properties = {key: value for key, value in mapping["properties"].items() if key != attachment.field}
    meta = {key: value for key, value in mapping["_meta"].items() if key != META_KEY}
    other_parts = {key: value for key, value in mapping.items() if key not in ("properties", "_meta")}
    await _put(es, name, kind, body, other_parts | {"properties": properties} | ({"_meta": meta} if meta else {}))


async def _read(es: AsyncElasticsearch, name: str, kind: Kind) -> dict[str, Any]:
    if not name or any(sign in name for sign in "*?,"):
        raise InvalidRequest(f"[{name}] does not name one template: wildcards and lists are rejected")
    try:
        response = await es.perform_request("GET", _PATHS[kind] + quote(name, safe=""), headers=_JSON)
    except NotFoundError as error:
        raise IndexNotFound(f"no such {kind} template [{name}]") from error
    template: dict[str, Any] = response.body[_LISTS[kind]][0][f"{kind}_template"]
    return template


async def _resolved(es: AsyncElasticsearch, name: str) -> dict[str, Any]:
    """The mapping of an index that is created from the template, with those of its component templates."""
    response = await es.perform_request("POST", f"/_index_template/_simulate/{quote(name, safe='')}", headers=_JSON)
    return dict(response.body["template"].get("mappings") or {})


async def _put(es: AsyncElasticsearch, name: str, kind: Kind, body: dict[str, Any], mapping: dict[str, Any]) -> None:
    template = {**(body.get("template") or {}), "mappings": mapping}
    # Newer servers return dates of creation and change, and reject a template that contains them.
    accepted = {key: value for key, value in body.items() if not key.startswith(("created_date", "modified_date"))}
    await es.perform_request(
        "PUT", _PATHS[kind] + quote(name, safe=""), headers=_JSON, body={**accepted, "template": template}
    )
