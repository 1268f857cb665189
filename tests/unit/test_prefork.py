"""Processes that are forked from one with all imports."""

import os
import sys
from pathlib import Path

import pytest

from tests.prefork import end_process, has_ended, start_process
from tests.real.faults import wait_for

COMMAND = [sys.executable, "-m", "esblend", "feed"]
NOWHERE = {
    "ESBLEND_ES_URL": "http://127.0.0.1:9",
    "ESBLEND_REDIS_URL": "redis://127.0.0.1:9/0",
    "PATH": "/usr/bin:/bin",
}
linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, each process starts anew")


@linux
def test_a_forked_process_has_the_environment_the_folder_and_the_log_of_its_start(tmp_path: Path) -> None:
    log, other_log = tmp_path / "logs" / "feed.log", tmp_path / "other.log"
    feed = start_process(COMMAND, log=log, env={**NOWHERE, "ESBLEND_LOG_FORMAT": "json"}, cwd=tmp_path)
    refused = start_process(COMMAND, log=other_log, env={"ESBLEND_ES_URI": "http://127.0.0.1:9"}, cwd=tmp_path)
    try:
        wait_for("the end of the process with a wrong setting", lambda: has_ended(refused))
        assert "ESBLEND_ES_URI" in other_log.read_text()
        wait_for("a message in the log", lambda: "http://127.0.0.1:9" in log.read_text())
        assert log.read_text().startswith("{")
        assert feed.cwd() == str(tmp_path)
        assert os.getsid(feed.pid) == feed.pid
    finally:
        end_process(feed, seconds=30)
    assert has_ended(feed)


@linux
def test_a_forked_process_stops_as_any_other(tmp_path: Path) -> None:
    feed = start_process(COMMAND, log=tmp_path / "log", env=NOWHERE, cwd=tmp_path)
    wait_for("its start", lambda: (tmp_path / "log").read_text())
    feed.terminate()
    feed.wait(timeout=60)
    assert "Traceback" not in (tmp_path / "log").read_text()
