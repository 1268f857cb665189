"""Blending with arrays ranks as the gateway does."""

from hypothesis import example, given
from hypothesis import strategies as st

from query.fusion.blend import Blending, SemanticScale, blend
from query.fusion.normalizers import Calibration, calibrated
from query.fusion.ranked_lists import Key
from query.lab.blend_arrays import Blend, to_arrays
from query.lab.candidates import Candidates
from query.lab.judgements import Judged
from query.lab.measures import MAIN, per_query
from query.plan.similarity import SIMILARITY_SCALES

CALIBRATION = {"i": Calibration(0.2)}
keys = st.sampled_from([Key("i", str(number)) for number in range(30)])


def lists(low: float, high: float) -> st.SearchStrategy[dict[Key, float]]:
    # Equal scores are common, so that ties are tried too.
    scores = st.dictionaries(keys, st.floats(low, high).map(lambda value: round(value, 1)))
    return scores.map(lambda by_key: dict(sorted(by_key.items(), key=lambda item: -item[1])))


@given(
    st.lists(st.tuples(lists(0.1, 20), lists(-1, 1)), min_size=1, max_size=3),
    st.sampled_from(["calibrated", "raw_dot", "theoretical", "none", "minmax", "l2_norm", "z_score", "dbsf", "rrf"]),
    st.sampled_from([0.0, 0.3, 0.65, 1.0]),
    st.sampled_from([3, 10, 50]),
    st.sampled_from(sorted(SIMILARITY_SCALES)),
)
# Equal similarities without a lexical leg keep the order of the semantic one.
@example(
    [({Key("i", "0"): 1.0}, {Key("i", "3"): 0.0, Key("i", "2"): 0.0, Key("i", "0"): 0.0})],
    "calibrated",
    1.0,
    3,
    "dot_product",
)
def test_values_are_those_of_the_gateways_fusion(
    queries: list[tuple[dict[Key, float], dict[Key, float]]],
    normalizer: str,
    alpha: float,
    window: int,
    similarity: str,
) -> None:
    fusion = "rrf" if normalizer == "rrf" else "linear"
    name = "calibrated" if fusion == "rrf" else normalizer
    candidates = {
        str(number): Candidates(lexical, semantic, calibrated(CALIBRATION)(semantic))
        for number, (lexical, semantic) in enumerate(queries)
    }
    grades = {id_: {"1": 3, "2": 1, "3": 2, "7": 1, "20": 1} for id_ in candidates}
    judged = Judged("j", {id_: id_ for id_ in candidates}, grades)
    weights = {"lexical": 1 - alpha, "semantic": alpha}
    scale = SIMILARITY_SCALES[similarity]
    semantic_scale = SemanticScale(CALIBRATION, scale.raw_dot, scale.theoretical, scale.is_dot)
    run = {}
    for id_, candidate in candidates.items():
        asked = [
            scores
            for scores, weight in zip((candidate.lexical, candidate.semantic), weights.values(), strict=True)
            if weight
        ]
        in_window = {key for scores in asked for key in list(scores)[:window]}
        legs = {
            leg: {key: score for key, score in scores.items() if key in in_window and weights[leg]}
            for leg, scores in (("lexical", candidate.lexical), ("semantic", candidate.semantic))
        }
        if fusion == "rrf":
            legs = {leg: dict(list(scores.items())[:window]) for leg, scores in legs.items()}
        fused = blend(legs, weights, Blending(fusion, name), semantic_scale)
        run[id_] = {hit.key.id: float(len(fused) - rank) for rank, hit in enumerate(fused)}
    expected = per_query(run, judged, [MAIN])[MAIN]
    values = to_arrays(candidates, judged, similarity).ndcg(Blend(alpha, fusion, name, window))
    assert {id_: round(value, 9) for id_, value in values.items()} == {
        id_: round(value, 9) for id_, value in expected.items()
    }
