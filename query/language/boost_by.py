"""Parses `hybrid.boost_by`: recency, distance and popularity as a part of the score."""

from typing import Any

from esblend.errors import InvalidRequest, MalformedRequest
from query.language.checks import number, refuse_unknown
from query.language.tree import Boost

BOOST_KEYS = frozenset(("field", "weight", "pivot", "origin", "scale", "offset", "decay"))
_DECAY_KEYS = ("origin", "scale", "offset", "decay")
_DEFAULT_WEIGHT = 0.2
_MAX_BOOSTS = 10


def parse_boosts(body: dict[str, Any]) -> tuple[Boost, ...]:
    """One boost or a list of boosts. Raises MalformedRequest or InvalidRequest naming the key at fault."""
    given = body.get("boost_by", [])
    boosts = given if isinstance(given, list) else [given]
    if len(boosts) > _MAX_BOOSTS:
        raise InvalidRequest(f"[hybrid.boost_by] has {len(boosts)} entries; at most {_MAX_BOOSTS} are allowed")
    return tuple(map(_parse, boosts))


def _parse(boost: Any) -> Boost:
    where = "hybrid.boost_by"
    if not isinstance(boost, dict) or not isinstance(boost.get("field"), str):
        raise MalformedRequest(f"[{where}] must be an object with a [field], or a list of those")
    refuse_unknown(boost, set(BOOST_KEYS), where)
    if ("pivot" in boost) == ("scale" in boost):
        raise InvalidRequest(
            f"[{where}] needs either [pivot], the value of the field that adds half of the weight, or [scale], the distance from "
            "[origin] at which half of the weight remains"
        )
    pivot = number(boost, "pivot", where=where)
    if pivot is not None and (pivot <= 0 or any(key in boost for key in _DECAY_KEYS)):
        raise InvalidRequest(f"[{where}.pivot] must be above 0, without {', '.join(_DECAY_KEYS)}")
    weight = number(boost, "weight", where=where, low=0, default=_DEFAULT_WEIGHT)
    decay = {key: boost[key] for key in _DECAY_KEYS if key in boost}
    return Boost(boost["field"], _DEFAULT_WEIGHT if weight is None else weight, pivot, decay)
