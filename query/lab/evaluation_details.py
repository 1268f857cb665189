"""The details of an evaluation for its report: model, settings, versions, date, command, and the documents' titles."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from elasticsearch import Elasticsearch

from esblend import __version__
from esblend.cli.gateway_client import call
from esblend.settings import mask_passwords
from query.lab.evaluation import Evaluation
from query.plan.hybrid_legs import DEFAULT_ALPHA

SHOWN_HITS = 10
_AT_ONCE = 500
_TITLE, _TEXT = 120, 160
_SECRETS = ("--api-key",)


@dataclass(frozen=True)
class EvaluationDetails:
    """`facts`: label -> value, as the report lists them. `alpha`: the index's present weight of the semantic leg; None if the
    index does not blend by one. `documents`: id -> (title, beginning of the text) of the hits that the report lists."""

    facts: Mapping[str, str]
    alpha: float | None
    documents: Mapping[str, tuple[str, str]]


def read_evaluation_details(
    es: Elasticsearch, evaluation: Evaluation, arguments: Sequence[str], generation: str | None = None
) -> EvaluationDetails:
    """Read what the report shows about the run, with the caller's rights. `arguments`: the command line, without secrets
    that are options' values."""
    attachment = call(es, "GET", f"/_esblend/indices/{quote(evaluation.index, safe='')}")["attachment"]
    used = generation or attachment["active"]
    settings = attachment["generations"][used]
    model, passages = settings["model"], settings["passages"]
    defaults = {key: value for key, value in attachment["defaults"].items() if value is not None}
    # A caller without the cluster privilege `monitor` does not see the version.
    version = es.options(ignore_status=403).info().get("version", {})
    facts = {
        "Index": evaluation.index,
        "Queries": f"{len(evaluation.judged.queries)}, judged in {evaluation.judged.name}",
        "Source fields": ", ".join(attachment["source_fields"]),
        "Model": f"{model['name']}, {model['dims']} dimensions (generation {used})",
        "Passages": f"at most {passages['max_tokens']} word pieces, {passages['overlap_tokens']} shared",
        "Vectors": f"{settings['vector']['type']}, {settings['vector']['similarity']}",
        "Query defaults": _listed(defaults) or "esblend's own",
        "Versions": f"esblend {__version__}, Elasticsearch {version.get('number', 'of unknown version')}",
        "Date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "Duration": f"{evaluation.seconds:.0f} s",
        "Command": command_line(arguments),
    }
    return EvaluationDetails(facts, _present_alpha(defaults), _documents(es, evaluation, attachment["source_fields"]))


def command_line(arguments: Sequence[str]) -> str:
    """The command as it can be typed again; values of secret options and passwords in addresses are masked."""
    shown, is_secret = ["esblend"], False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if is_secret:
            argument = "********"
        elif equals and name in _SECRETS:
            argument = f"{name}=********"
        is_secret = argument in _SECRETS
        shown.append(mask_passwords(argument))
    return shlex.join(shown)


def _present_alpha(defaults: Mapping[str, Any]) -> float | None:
    weights = defaults.get("weights")
    if defaults.get("fusion", "linear") != "linear":
        return None
    if weights:
        lexical, semantic = (weights.get(leg, 0.0) for leg in ("lexical", "semantic"))
        known = set(weights) <= {"lexical", "semantic"} and lexical + semantic > 0
        return float(semantic / (lexical + semantic)) if known else None
    return float(defaults.get("alpha", DEFAULT_ALPHA))


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())


def _documents(es: Elasticsearch, evaluation: Evaluation, fields: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Title and beginning of each document among any system's first hits."""
    shown = (list(hits)[:SHOWN_HITS] for system in evaluation.systems.values() for hits in system.run.values())
    ids = sorted({document for hits in shown for document in hits})
    documents = {}
    for start in range(0, len(ids), _AT_ONCE):
        query = {"ids": {"values": ids[start : start + _AT_ONCE]}}
        response = es.search(index=evaluation.index, query=query, size=_AT_ONCE, source_includes=list(fields))
        for hit in response["hits"]["hits"]:
            values = [" ".join(text.split()) for field in fields if (text := _text(hit["_source"], field)).strip()]
            title, text = (*values, "", "")[:2]
            documents[hit["_id"]] = (title[:_TITLE], text[:_TEXT])
    return documents


def _text(source: Any, field: str) -> str:
    """A field's text, or the first of its texts; empty when it has none. `a.b` may be a key or a path."""
    if not isinstance(source, Mapping):
        return ""
    value = source.get(field)
    if value is None and "." in field:
        first, _, rest = field.partition(".")
        return _text(source.get(first), rest)
    if isinstance(value, list):
        value = next((text for text in value if isinstance(text, str)), None)
    return value if isinstance(value, str) else ""
