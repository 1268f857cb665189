"""Results come from outside: one that cannot be read is the failure of one task."""

import orjson
import pytest

from esblend.broker import EmbedResult
from indexer.feed.task_queue import Outcome, read_outcome


def test_the_result_of_a_finished_task_is_read() -> None:
    message = orjson.dumps({"status": "SUCCESS", "result": {"written": 3, "until": 9}})
    assert read_outcome("a", message) == Outcome("a", EmbedResult(written=3, until=9))
    assert read_outcome("a", orjson.dumps({"status": "FAILURE", "result": {}})) == Outcome("a", None)
    assert read_outcome("a", orjson.dumps({"status": "STARTED"})) is None


@pytest.mark.parametrize(
    "result",
    ['{"written": -1}', '{"written": "many"}', '{"documents": 1e300}', '{"seconds": NaN}', '{"until": 1e30}',
     '{"until": -2}', '[]', 'null', '"text"', '{'],
)  # fmt: skip
def test_a_result_that_cannot_be_read_is_a_failure(result: str) -> None:
    assert read_outcome("a", f'{{"status": "SUCCESS", "result": {result}}}'.encode()) == Outcome("a", None)


@pytest.mark.parametrize("message", [b"", b"[]", b"7", b"\xff", b'{"result": {}}'])
def test_a_message_that_is_not_celerys_is_a_failure(message: bytes) -> None:
    assert read_outcome("a", message) == Outcome("a", None)
