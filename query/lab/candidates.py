"""Both exact scores of every candidate, fetched once, so that any blend of them can be computed without further searches."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elasticsearch import Elasticsearch

from query.fusion.blend import CALIBRATED
from query.fusion.ranked_lists import Key, Scores
from query.lab.batch_searches import Advance, search_all
from query.lab.judgements import Judged
from query.lab.systems import WHOLE
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
            **WHOLE,
            "explain": True,
            "query": {"hybrid": {"query": text, **options}},
        }
        for id_, text in judged.queries.items()
    }
    return {id_: _candidates(response) for id_, response in search_all(es, index, bodies, advance)}


def _candidates(response: Mapping[str, Any]) -> Candidates:
    raw: dict[str, dict[Key, float]] = {LEXICAL: {}, SEMANTIC: {}}
    calibrated: dict[Key, float] = {}
    for explained in response["esblend"]["explanations"]:
        key = Key(explained["_index"], explained["_id"])
        for leg in explained["legs"]:
            if "score" not in leg:
                continue
            raw[leg["leg"]][key] = leg["score"]
            if leg["leg"] == SEMANTIC:
                calibrated[key] = leg["normalized"]
    lexical, semantic = (dict(sorted(scores.items(), key=lambda item: -item[1])) for scores in raw.values())
    return Candidates(lexical, semantic, calibrated)
