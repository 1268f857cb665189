"""Partial updates in `_bulk`, on which Elasticsearch runs no pipeline, are rewritten to remove vectors of a text that they change.

{"doc": {"body": ...}} -> {"script": merge the doc, compare the source fields, remove the vectors if they differ, "params": {"doc"}}

The script has the effect of the update itself: it merges objects, and without a change it is a no-op.
"""

from collections.abc import Mapping
from typing import Any

from mappings.attachment import Attachment
from mappings.guard import VALUES_OF_FIELD

_UPDATE = (
    VALUES_OF_FIELD
    + """
List texts(def source, def fields) {
  List all = new ArrayList();
  for (String field : fields) {
    List found = new ArrayList();
    values(source, field, found);
    all.add(found);
  }
  return all;
}
boolean merge(def target, def changes, boolean writes) {
  boolean differs = false;
  for (def change : changes.entrySet()) {
    def present = target.get(change.getKey());
    def wanted = change.getValue();
    if (present instanceof Map && wanted instanceof Map) {
      if (merge(present, wanted, writes)) { differs = true; }
      continue;
    }
    if (!target.containsKey(change.getKey()) || !Objects.equals(present, wanted)) { differs = true; }
    if (writes) { target.put(change.getKey(), wanted); }
  }
  return differs;
}
def source = ctx._source;
boolean replacesOurs = false;
if (params.doc.containsKey(params.field)) {
  Map ours = new HashMap();
  ours.put(params.field, params.doc.get(params.field));
  replacesOurs = merge(source, ours, false);
}
List before = texts(source, params.fields);
boolean isChanged = merge(source, params.doc, true);
if (!isChanged && params.detect_noop) { ctx.op = 'none'; return; }
if (replacesOurs || !before.equals(texts(source, params.fields))) {
  def stored = source.get(params.field);
  if (stored instanceof Map) {
    for (String generation : params.generations) { stored.remove(generation); }
    if (stored.isEmpty()) { source.remove(params.field); }
  }
}
"""
)
_KNOWN = {"doc", "upsert", "doc_as_upsert", "detect_noop", "_source", "if_seq_no", "if_primary_term"}


def guarded_update(body: Mapping[str, Any], attachment: Attachment, *, is_piped: bool) -> dict[str, Any] | None:
    """The body of an update in `_bulk` that has the effect of `body` and also removes vectors of a text that it changes.

    `is_piped`: an ingest pipeline other than the guard runs on documents of `doc_as_upsert`. Then only Elasticsearch knows
    the final values, so vectors are removed whatever they are; the worker writes them again.
    None: the update leaves texts alone, is scripted, or is one that Elasticsearch rejects.
    """
    doc = body.get("doc")
    if not isinstance(doc, Mapping) or body.keys() - _KNOWN:
        return None
    is_upsert = body.get("doc_as_upsert") is True
    if is_upsert and is_piped:
        removed = dict.fromkeys(sorted(attachment.generations))
        return {**body, "doc": {**doc, attachment.field: removed}}
    if not any(_touches(doc, path) for path in (*attachment.source_fields, attachment.field)):
        return None
    rest = {key: value for key, value in body.items() if key not in ("doc", "doc_as_upsert", "detect_noop")}
    params = {
        "doc": doc, "field": attachment.field, "fields": attachment.source_fields,
        "generations": sorted(attachment.generations), "detect_noop": body.get("detect_noop") is not False,
    }  # fmt: skip
    script = {"lang": "painless", "source": _UPDATE, "params": params}
    return {**rest, **({"upsert": doc} if is_upsert else {}), "script": script}


def _touches(doc: Any, path: str) -> bool:
    """Whether a partial document may change the values at a dotted path: it names the field, or replaces an object around it."""
    if not isinstance(doc, Mapping):
        return True
    if path in doc:
        return True
    steps = path.split(".")
    heads = [(".".join(steps[:cut]), ".".join(steps[cut:])) for cut in range(1, len(steps))]
    return any(head in doc and _touches(doc[head], rest) for head, rest in heads)
