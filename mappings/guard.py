"""The guard: a `final_pipeline` that removes a vector in the same write that changes its text.

write -> the index's own final_pipeline -> gather the source fields' values -> fingerprint -> differs? remove the vectors
                                                                            \\-> vectors missing? remove the fingerprint

Elasticsearch runs it on every index operation and on `_update`, but not on updates inside `_bulk`: there the gateway replaces it
(see `mappings.guarded_update`). A document that cannot be fingerprinted loses its vectors: no vector is better than a stale one.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from elastic_transport import ObjectApiResponse
from elasticsearch import ApiError, AsyncElasticsearch, BadRequestError, NotFoundError

from esblend.errors import InvalidRequest
from mappings.attachment import EMBEDDED, Attachment
from mappings.source import fingerprint_salt

_PREFIX = "esblend-guard-"
GUARD_PIPELINES = f"{_PREFIX}*"
_PROCESSORS = {"fingerprint", "script", "pipeline"}
# Painless functions. `values` collects what `mappings.source.fingerprinted_values` collects of one field.
VALUES_OF_FIELD = """
void leaves(def value, List out) {
  if (value instanceof List) { for (def item : value) { leaves(item, out); } }
  else if (value != null && !(value instanceof Map)) { out.add(value); }
}
void values(def node, String path, List out) {
  if (node instanceof List) { for (def item : node) { values(item, path, out); } return; }
  if (!(node instanceof Map)) { return; }
  if (node.containsKey(path)) { leaves(node[path], out); }
  int cut = path.indexOf('.');
  while (cut >= 0) {
    String head = path.substring(0, cut);
    if (node.containsKey(head)) { values(node[head], path.substring(cut + 1), out); }
    cut = path.indexOf('.', cut + 1);
  }
}
"""
_GATHER = (
    VALUES_OF_FIELD
    + """
List out = new ArrayList();
for (String field : params.fields) {
  List found = new ArrayList();
  values(ctx, field, found);
  out.add(field);
  out.add(String.valueOf(found.size()));
  out.addAll(found);
}
ctx[params.gathered] = out;
"""
)
# A client that writes back a document read without its vectors must not keep the fingerprint of vectors that are gone.
_COMPARE = """
boolean hasVectors(Map stored, boolean nested, String embedded) {
  if (stored.state != embedded) { return true; }
  if (!nested) { return stored.vector != null; }
  def passages = stored.passages;
  if (passages instanceof Map) { return passages.vector != null; }
  if (!(passages instanceof List) || passages.isEmpty()) { return false; }
  for (def passage : passages) { if (!(passage instanceof Map) || passage.vector == null) { return false; } }
  return true;
}
def ours = ctx[params.field];
for (String generation : params.generations) {
  def stored = ours[generation];
  boolean nested = params.nested.contains(generation);
  if (stored instanceof Map && (stored.fingerprint != ctx[params.gathered + generation]
      || !hasVectors(stored, nested, params.embedded))) { ours.remove(generation); }
  ctx.remove(params.gathered + generation);
}
ctx.remove(params.gathered);
if (ours.isEmpty()) { ctx.remove(params.field); }
"""


def pipeline_name(index: str) -> str:
    return _PREFIX + index


def is_guard_name(pipeline: str | None) -> bool:
    """Whether a pipeline has the name of a guard, maybe that of another index."""
    return pipeline is not None and pipeline.startswith(_PREFIX)


def guard_pipeline(attachment: Attachment) -> dict[str, Any]:
    """The body of the pipeline."""
    field = attachment.field
    gathered = f"{field}_guard_"
    has_ours = f"ctx['{field}'] instanceof Map"
    generations = sorted(attachment.generations)
    gather = {
        "lang": "painless",
        "source": _GATHER,
        "params": {"fields": attachment.source_fields, "gathered": gathered},
    }
    compare = {
        "lang": "painless",
        "source": _COMPARE,
        "params": {
            "field": field, "gathered": gathered, "generations": generations, "embedded": EMBEDDED,
            "nested": [name for name in generations if attachment.using(name).is_nested],
        },
    }  # fmt: skip
    drop = {"remove": {"field": [field, gathered, *(gathered + name for name in generations)], "ignore_missing": True}}
    processors: list[dict[str, Any]] = []
    if attachment.final_pipeline_before:
        processors.append({"pipeline": {"name": attachment.final_pipeline_before}})
    processors.append({"script": {**gather, "if": has_ours, "ignore_failure": True}})
    processors += [
        {
            "fingerprint": {
                "fields": [gathered],
                "target_field": gathered + name,
                "salt": fingerprint_salt(attachment.generations[name]),
                "method": "SHA-256",
                "if": has_ours,
                "ignore_failure": True,
            }
        }
        for name in generations
    ]
    processors.append({"script": {**compare, "if": has_ours, "on_failure": [drop]}})
    return {"description": "Removes vectors whose text has changed. Managed by esblend.", "processors": processors}


def is_guard_pipeline(stored: Mapping[str, Any] | None, attachment: Attachment) -> bool:
    """Whether a stored pipeline does what the guard of this attachment does."""
    return stored is not None and stored.get("processors") == guard_pipeline(attachment)["processors"]


async def read_guard_pipelines(es: AsyncElasticsearch, attachments: Iterable[Attachment]) -> dict[str, Any] | None:
    """The pipelines of all guards by name; None when none of `attachments` has a guard, or this user may not read pipelines."""
    if not any(attachment.guard for attachment in attachments):
        return None
    return guard_pipelines_in(await es.options(ignore_status=(403, 404)).ingest.get_pipeline(id=GUARD_PIPELINES))


def guard_pipelines_in(response: ObjectApiResponse[Any]) -> dict[str, Any] | None:
    """As `read_guard_pipelines`, from the response to a request for `GUARD_PIPELINES` that ignores 403 and 404."""
    return None if response.meta.status == 403 else dict(response.body)


async def check_guard(es: AsyncElasticsearch) -> None:
    """Raises InvalidRequest when a node lacks an ingest processor of the guard."""
    try:
        response = await es.nodes.info(metric="ingest", filter_path="nodes.*.name,nodes.*.ingest.processors.type")
    except ApiError as error:
        if error.meta.status == 403:
            return  # the caller may not read node information; creating the pipeline shows whether it works
        raise
    for node in response.get("nodes", {}).values():
        missing = _PROCESSORS - {processor["type"] for processor in node.get("ingest", {}).get("processors", [])}
        if missing:
            raise InvalidRequest(
                f"[guard] needs the ingest processors {sorted(missing)}, which node [{node.get('name')}] lacks: "
                "install the module ingest-common there, or attach without the guard"
            )


async def read_final_pipeline(es: AsyncElasticsearch, index: str) -> str | None:
    """The index's own final pipeline. If a guard is installed, also that of another index which was cloned, its pipeline
    names this index's pipeline."""
    current = await _current_pipeline(es, index)
    if current is None or not is_guard_name(current):
        return current
    try:
        pipeline = (await es.ingest.get_pipeline(id=current))[current]
    except NotFoundError:
        return None
    first = (pipeline.get("processors") or [{}])[0]
    return str(first["pipeline"]["name"]) if "pipeline" in first else None


async def install_guard(es: AsyncElasticsearch, index: str, attachment: Attachment) -> None:
    previous = await _current_pipeline(es, index)
    await es.ingest.put_pipeline(id=pipeline_name(index), **guard_pipeline(attachment))
    await es.indices.put_settings(index=index, settings={"index.final_pipeline": pipeline_name(index)})
    if previous is not None and is_guard_name(previous) and previous != pipeline_name(index):
        await _delete_unused(es, previous)


async def remove_guard(es: AsyncElasticsearch, index: str) -> None:
    """Restore the index's own final pipeline. A pipeline that the owner set instead of the guard remains."""
    current = await _current_pipeline(es, index)
    if current is not None and is_guard_name(current):
        own_pipeline = await read_final_pipeline(es, index) or "_none"
        await es.indices.put_settings(index=index, settings={"index.final_pipeline": own_pipeline})
        await _delete_unused(es, current)
    if current != pipeline_name(index):
        await _delete_unused(es, pipeline_name(index))


async def _current_pipeline(es: AsyncElasticsearch, index: str) -> str | None:
    response = await es.indices.get_settings(index=index, name="index.final_pipeline", flat_settings=True)
    name = response.body.get(index, {}).get("settings", {}).get("index.final_pipeline")
    return None if name in (None, "_none") else str(name)


async def _delete_unused(es: AsyncElasticsearch, pipeline: str) -> None:
    """Delete a guard pipeline, unless a clone of its index uses it: Elasticsearch rejects that with 400."""
    try:
        await es.ingest.delete_pipeline(id=pipeline)
    except NotFoundError:
        return
    except BadRequestError as error:
        if "cannot be deleted" not in str(error):
            raise
