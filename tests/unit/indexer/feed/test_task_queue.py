"""Results come from outside: one that cannot be read is the failure of one task."""

import orjson
import pytest

from esblend.broker import EmbedResult, Report
from indexer.feed.task_queue import read_end


def test_the_result_of_a_finished_task_is_read() -> None:
    message = orjson.dumps({"status": "SUCCESS", "result": {"written": 3, "until": 9}})
    assert read_end("a", message) == Report(task="a", is_end=True, result=EmbedResult(written=3, until=9))
    assert read_end("a", orjson.dumps({"status": "FAILURE", "result": {}})) == Report(
        task="a", is_end=True, result=None
    )
    assert read_end("a", orjson.dumps({"status": "STARTED"})) is None


@pytest.mark.parametrize(
    "result",
    ['{"written": -1}', '{"written": "many"}', '{"documents": 1e300}', '{"seconds": NaN}', '{"until": 1e30}',
     '{"until": -2}', '[]', 'null', '"text"', '{'],
)  # fmt: skip
def test_a_result_that_cannot_be_read_is_a_failure(result: str) -> None:
    assert read_end("a", f'{{"status": "SUCCESS", "result": {result}}}'.encode()) == Report(
        task="a", is_end=True, result=None
    )


@pytest.mark.parametrize("message", [b"", b"[]", b"7", b"\xff", b'{"result": {}}'])
def test_a_message_that_is_not_celerys_is_a_failure(message: bytes) -> None:
    assert read_end("a", message) == Report(task="a", is_end=True, result=None)
