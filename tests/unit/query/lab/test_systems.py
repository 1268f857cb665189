"""The systems of the lab name every option, so that an attachment's defaults cannot make one differ from its name."""

import pytest

from mappings.attachment import QueryProfile
from query.lab.blend_arrays import Blend
from query.lab.systems import System, standard_systems

WEIGHTS = {"alpha", "weights"}


def required(fusion: str) -> set[str]:
    """The options that defaults may set. Both forms of weights are one option; `fields` are those of the index for all systems."""
    unused = {"normalizer"} if fusion == "rrf" else {"rank_constant"}
    return set(QueryProfile.model_fields) - WEIGHTS - {"fields"} - unused


@pytest.mark.parametrize("system", standard_systems(rerank=True), ids=lambda system: system.name)
def test_each_system_names_every_option(system: System) -> None:
    body = system.body("text")
    options = body["query"]["hybrid"]
    assert required(options["fusion"]) <= options.keys()
    assert len(WEIGHTS & options.keys()) == 1
    assert body["on_leg_failure"] == "fail"


@pytest.mark.parametrize("fusion", ["linear", "rrf"])
def test_each_blend_of_tune_names_every_option(fusion: str) -> None:
    options = Blend(fusion=fusion).options()
    assert required(fusion) <= options.keys()
    assert len(WEIGHTS & options.keys()) == 1
