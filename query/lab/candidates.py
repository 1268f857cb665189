"""Both exact scores of every candidate, fetched once, so that any blend of them can be computed without further searches."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from elasticsearch import Elasticsearch

from query.fusion.blend import CALIBRATED
from query.fusion.ranked_lists import Key, Scores
from query.lab.judged import Judged
from query.lab.searching import Advance, search_all
from query.plan.hybrid_legs import LEXICAL, SEMANTIC


@dataclass(frozen=True)
class Candidates:
    """BM25, similarity and calibrated similarity of one query's candidates, each list best first."""

    lexical: Scores
    semantic: Scores
    calibrated: Mapping[Key, float]


def fetch_candidates(
    es: Elasticsearch,
    index: str,
    judged: Judged,
    window: int,
    hybrid_options: Mapping[str, Any],
    advance: Advance = lambda _: None,
) -> dict[str, Candidates]:
    """Candidates by query id, read from the explanations of the hits. `hybrid_options`: further options, such as `fields`.

    Every option that changes the candidates is set, so the attachment's defaults have no effect.
    """
    options = {
        "alpha": 0.5, "fusion": "linear", "normalizer": CALIBRATED, "blending": "exact", "rank_window_size": 3 * window,
        **hybrid_options,
    }  # fmt: skip
    bodies = {
        id_: {
            "_source": False,
            "size": 3 * window,
            "track_total_hits": False,
            "explain": True,
            "query": {"hybrid": {"query": text, **options}},
        }
        for id_, text in judged.queries.items()
    }
    return {id_: _candidates(response) for id_, response in search_all(es, index, bodies, advance)}


def _candidates(response: Mapping[str, Any]) -> Candidates:
    raw: dict[str, dict[Key, float]] = {LEXICAL: {}, SEMANTIC: {}}
    calibrated: dict[Key, float] = {}
    for hit in response["hits"]["hits"]:
        key = Key(hit["_index"], hit["_id"])
        for leg, score, normalized in _scores(hit["_explanation"]):
            raw[leg][key] = score
            if leg == SEMANTIC:
                calibrated[key] = normalized
    lexical, semantic = (dict(sorted(scores.items(), key=lambda item: -item[1])) for scores in raw.values())
    return Candidates(lexical, semantic, calibrated)


def _scores(explanation: Mapping[str, Any]) -> Iterator[tuple[str, float, float]]:
    """(leg, raw score, normalised score) of each leg that ranks the document."""
    for part in explanation["details"]:
        normalized = part["details"][1]
        for evidence in normalized["details"]:
            if evidence["description"] == "raw score":
                yield part["description"].partition(",")[0], evidence["value"], normalized["value"]
