"""Both true scores of every candidate, fetched once, so that any blend of them can be computed without asking again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from elasticsearch import Elasticsearch

from query.fusion.ranked_lists import Key, Scores
from query.lab.judged import Judged
from query.lab.searching import Advance, Run, search_all
from query.plan.hybrid_legs import LEXICAL, SEMANTIC
from query.run.hybrid import Blending, blend


@dataclass(frozen=True)
class Candidates:
    """(BM25, nearness) of one query's candidates, each list best first."""

    lexical: Scores
    semantic: Scores


@dataclass(frozen=True)
class Blend:
    """Settings of a `hybrid` query that change the order of given candidates."""

    alpha: float = 0.7
    fusion: str = "linear"
    normalizer: str | None = None
    window: int = 100
    rank_constant: int = 60

    def options(self) -> dict[str, Any]:
        """As `hybrid` takes them."""
        found: dict[str, Any] = {"alpha": self.alpha, "fusion": self.fusion, "rank_window_size": self.window}
        if self.fusion == "rrf":
            return {**found, "rank_constant": self.rank_constant}
        return found | ({"normalizer": self.normalizer} if self.normalizer else {})


def fetch_candidates(
    es: Elasticsearch,
    index: str,
    judged: Judged,
    window: int,
    more: Mapping[str, Any],
    advance: Advance = lambda _: None,
) -> dict[str, Candidates]:
    """By query id; `more`: further options of `hybrid`, such as `fields`. The scores are read from the explanations."""
    bodies = {
        id_: {
            "_source": False, "size": 3 * window, "track_total_hits": False, "explain": True,
            "query": {"hybrid": {"query": text, "alpha": 0.5, "rank_window_size": 3 * window, **more}},
        }
        for id_, text in judged.queries.items()
    }  # fmt: skip
    return {id_: _candidates(response) for id_, response in search_all(es, index, bodies, advance)}


def _candidates(response: Mapping[str, Any]) -> Candidates:
    found: dict[str, dict[Key, float]] = {LEXICAL: {}, SEMANTIC: {}}
    for hit in response["hits"]["hits"]:
        for leg, raw in _raw_scores(hit["_explanation"]):
            found[leg][Key(hit["_index"], hit["_id"])] = raw
    lexical, semantic = (dict(sorted(one.items(), key=lambda item: -item[1])) for one in found.values())
    return Candidates(lexical, semantic)


def _raw_scores(explanation: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    for part in explanation["details"]:
        evidence = part["details"][1]["details"]
        for one in evidence:
            if one["description"] == "raw score":
                yield part["description"].partition(",")[0], one["value"]


def blended(candidates: Mapping[str, Candidates], settings: Blend) -> Run:
    """A run of the candidates in the order of a blend, by the very functions that the gateway uses."""
    return {id_: _one(found, settings) for id_, found in candidates.items()}


def _one(found: Candidates, settings: Blend) -> dict[str, float]:
    near = set(list(found.lexical)[: settings.window]) | set(list(found.semantic)[: settings.window])
    weights = {LEXICAL: 1 - settings.alpha, SEMANTIC: settings.alpha}
    lists = tuple(
        {key: score for key, score in one.items() if key in near and weights[name]}  # a leg of weight 0 is not asked
        for name, one in ((LEXICAL, found.lexical), (SEMANTIC, found.semantic))
    )
    if settings.fusion == "rrf":
        lists = tuple(dict(list(one.items())[: settings.window]) for one in lists)
    how = Blending(settings.fusion, settings.normalizer, rank_constant=settings.rank_constant)
    fused = blend({LEXICAL: lists[0], SEMANTIC: lists[1]}, weights, how)
    return {one.key.id: float(len(fused) - place) for place, one in enumerate(fused[:100])}
