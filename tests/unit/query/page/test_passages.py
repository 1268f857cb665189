"""Scores of documents with one vector, whose whole text is the passage."""

import pytest

from mappings.attachment import Attachment, Generation, ModelIdentity, PassageSettings, VectorOptions
from query.fusion.blend import blend
from query.fusion.ranked_lists import Key
from query.page.passages import whole_scores

SHOWN, OTHER = Key("i", "1"), Key("i", "2")
FUSED = blend({"lexical": {SHOWN: 3.0}, "semantic": {OTHER: 0.9, SHOWN: 0.8}}, {"lexical": 0.5, "semantic": 0.5})


@pytest.mark.parametrize(("layout", "expected"), [("flat", {SHOWN: 0.8}), ("passages", {})])
def test_only_shown_documents_of_an_index_without_passages_have_one(layout: str, expected: dict[Key, float]) -> None:
    vector = VectorOptions.model_validate({"layout": layout})
    model = ModelIdentity(name="m", digest="d", dims=3)
    generation = Generation(model=model, passages=PassageSettings(), vector=vector)
    attachment = Attachment(field="esblend", source_fields=["body"], active="g1", generations={"g1": generation})
    assert whole_scores(FUSED, {SHOWN}, attachment) == expected
