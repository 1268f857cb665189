"""The log lines of errors."""

import json
import logging

import pytest
import structlog

from esblend.logs import configure_logging, without_preview
from esblend.settings import Settings


@pytest.fixture(autouse=True)
def restored() -> object:
    handlers, level = logging.getLogger().handlers, logging.getLogger().level
    yield
    logging.getLogger().handlers, logging.getLogger().level = handlers, level
    structlog.reset_defaults()


def fail(text: str) -> None:
    try:
        raise ValueError(f"cannot digest {text}")
    except ValueError as error:
        raise KeyError(text) from error


def test_an_exception_is_told_by_its_frames_and_types_not_by_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_format="json"))
    for log in (structlog.get_logger("ours"), logging.getLogger("of a library")):
        try:
            fail("a secret text")
        except KeyError as error:
            log.error("unexpected", exc_info=error)
    for line in capsys.readouterr().err.splitlines():
        told = json.loads(line)
        assert "a secret text" not in line
        assert told["exception"].count(" in fail") == 2
        assert "KeyError" in told["exception"]
        assert "ValueError" in told["exception"]


def test_a_servers_error_keeps_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_format="json"))
    structlog.get_logger().error("away", exc_info=ConnectionRefusedError(111, "Connection refused"))
    assert "Connection refused" in json.loads(capsys.readouterr().err)["exception"]


def test_a_reason_is_told_without_the_piece_of_the_document() -> None:
    reason = (
        "failed to parse field [n] of type [long] in document with id '1'. Preview of field's value: 'a secret text'"
    )
    assert without_preview(reason) == "failed to parse field [n] of type [long] in document with id '1'."
