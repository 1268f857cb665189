"""What a person at a terminal reads when a request fails."""

import subprocess
import sys
from typing import Any

import pytest
import typer
from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig
from elasticsearch import ApiError

from esblend.cli.gateway_client import FAILED, reason_of, stating_errors

SHARD_FAILURE = {"type": "query_shard_exception", "reason": "[bool] failed to find nested object under path [x]"}


def failure(status: int, body: Any) -> ApiError:
    node = NodeConfig("http", "127.0.0.1", 9280)
    return ApiError("a failure", ApiResponseMeta(status, "1.1", HttpHeaders(), 0.1, node), body)


def error_of(cause: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"root_cause": [cause], **cause}}


@pytest.mark.parametrize("key", ["failed_shards", "root_cause"])
def test_the_cause_is_printed_in_place_of_all_shards_failed(key: str) -> None:
    cause = {"shard": 0, "reason": SHARD_FAILURE} if key == "failed_shards" else SHARD_FAILURE
    body = {"error": {"root_cause": [], "type": "search_phase_execution_exception", "reason": "all shards failed"}}
    body["error"][key] = [cause]
    assert reason_of(failure(400, body)) == SHARD_FAILURE["reason"]


def test_the_cause_is_printed_in_place_of_where_a_body_could_not_be_parsed() -> None:
    """The caller has not written that body."""
    cause = {"type": "parsing_exception", "reason": "unknown query [nonsense]"}
    summary = {"type": "x_content_parse_exception", "reason": "[1:4884] [knn] failed to parse field [filter]"}
    assert reason_of(failure(400, {"error": {"root_cause": [cause], **summary, "caused_by": cause}})) == cause["reason"]


def test_a_text_for_the_command_line_comes_first() -> None:
    told = {"root_cause": [SHARD_FAILURE], **SHARD_FAILURE, "command_line": "esblend migrate x drops it"}
    assert reason_of(failure(400, {"error": told})) == "esblend migrate x drops it"


def test_a_refused_sign_in_names_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    body = error_of({"type": "security_exception", "reason": "unable to authenticate user [me]"})
    with pytest.raises(typer.Exit) as ended, stating_errors():
        raise failure(401, body)
    assert ended.value.exit_code == FAILED
    printed = capsys.readouterr().err
    for words in ("unable to authenticate user [me]", "--username", "--api-key"):
        assert words in printed


def test_an_answer_that_is_not_an_error_of_elasticsearch_keeps_its_status() -> None:
    assert reason_of(failure(502, {"error": "Bad Gateway"})) == "502: Bad Gateway"


def test_warnings_of_libraries_do_not_reach_the_terminal() -> None:
    code = (
        "import sys, warnings\n"
        "from esblend.cli.main import main\n"
        "sys.argv = ['esblend', '--help']\n"
        "try: main()\n"
        "except SystemExit: warnings.warn('for developers')"
    )
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert "Usage" in done.stdout
    assert "for developers" not in done.stderr
