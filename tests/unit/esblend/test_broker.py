"""Messages come from outside: only tasks that a worker can process are accepted."""

from typing import Any

import pytest
from pydantic import ValidationError

from esblend.broker import EmbedTask, RangeTask

RANGE: dict[str, Any] = {
    "index": "articles", "uuid": "u", "generation": "g1", "shard": 0, "after": -1, "until": 9, "max_documents": 10,
}  # fmt: skip


def test_a_range_is_accepted() -> None:
    assert RangeTask.model_validate({**RANGE, "without": [(0, 3)]}).without == [(0, 3)]


@pytest.mark.parametrize(
    "change",
    [{"index": ""}, {"uuid": ""}, {"generation": "g" * 1000}, {"shard": 2**40}, {"until": 2**63}, {"after": 9},
     {"after": -2}, {"without": [(-1, 3)]}, {"without": [(0, 2**64)]}, {"max_documents": 0}],
)  # fmt: skip
def test_a_range_that_no_search_accepts_is_rejected(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RangeTask.model_validate({**RANGE, **change})


def test_documents_without_an_index_are_rejected() -> None:
    with pytest.raises(ValidationError, match="index"):
        EmbedTask(index="", uuid="u", generation="g1", documents=[{"id": "1", "seq_no": 0}])  # type: ignore[list-item]
