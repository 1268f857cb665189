"""Parses `hybrid.interleave`: two configurations whose hits are interleaved, so that clicks decide between them."""

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

from esblend.errors import InvalidRequest, MalformedRequest
from query.language.checks import inner_object, refuse_unknown
from query.language.tree import Hybrid, Interleave

SIDE_OPTIONS = frozenset((
    "fields", "alpha", "weights", "fusion", "normalizer", "combination", "rank_window_size", "blending", "rerank", "generation",
    "rank_constant", "profile", "lexical", "boost_by", "operator", "minimum_should_match", "fuzziness", "analyzer", "type",
    "tie_breaker",
))  # fmt: skip
EXPERIMENT = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_MAX_SESSION = 256
_DIGEST = 8


def interleave_of(body: dict[str, Any], parse: Callable[[dict[str, Any]], Hybrid]) -> Interleave | None:
    """The two sides of a `hybrid` body; None without the key. `parse` parses the body of one side.

    Options beside `interleave` are valid for both sides; an option of a side replaces them. The experiment's name ends with a
    digest of both configurations, so that clicks on different configurations are never counted together. Raises
    MalformedRequest or InvalidRequest naming the field at fault.
    """
    if "interleave" not in body:
        return None
    given = inner_object(body, "interleave", "hybrid", {})
    refuse_unknown(given, {"experiment", "session", "a", "b"}, "hybrid.interleave")
    experiment, session = given.get("experiment"), given.get("session")
    if not isinstance(experiment, str) or not EXPERIMENT.fullmatch(experiment):
        raise InvalidRequest(
            "[hybrid.interleave.experiment] must name the experiment: 1 to 100 letters, digits, dots, hyphens or underscores"
        )
    if not isinstance(session, str | None) or len(session or "") > _MAX_SESSION:
        raise InvalidRequest(f"[hybrid.interleave.session] must be a text of at most {_MAX_SESSION} characters")
    shared = {key: value for key, value in body.items() if key != "interleave"}
    sides = {side: _side(given, side, shared) for side in ("a", "b")}
    if sides["a"] == sides["b"]:
        raise InvalidRequest("[hybrid.interleave]: [a] and [b] are the same configuration; there is nothing to compare")
    options = [
        {key: configuration[key] for key in sorted(SIDE_OPTIONS & set(configuration))}
        for configuration in sides.values()
    ]
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:_DIGEST]
    parsed = {side: _parsed(side, configuration, parse) for side, configuration in sides.items()}
    return Interleave(f"{experiment}-{digest}", session, parsed["a"], parsed["b"])


def _side(interleave: dict[str, Any], side: str, shared: dict[str, Any]) -> dict[str, Any]:
    if side not in interleave:
        raise MalformedRequest(f"[hybrid.interleave] needs [{side}], the options of one configuration ({{}} for none)")
    options = inner_object(interleave, side, "hybrid.interleave", {})
    refuse_unknown(options, set(SIDE_OPTIONS), f"hybrid.interleave.{side}")
    # Both express the weights of the legs, so one of a side replaces either of the shared ones.
    replaced = {"alpha", "weights"} if {"alpha", "weights"} & set(options) else set()
    return {key: value for key, value in shared.items() if key not in replaced} | options


def _parsed(side: str, body: dict[str, Any], parse: Callable[[dict[str, Any]], Hybrid]) -> Hybrid:
    try:
        return parse(body)
    except (InvalidRequest, MalformedRequest) as error:
        raise type(error)(f"side [{side}] of [hybrid.interleave]: {error.reason}") from error
