"""The command line, as people and scripts use it."""

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from esblend.cli.main import app
from tests.answering_server import answering_server
from tests.conftest import ROOT, Stack, run_esblend


def test_help_teaches() -> None:
    shown = run_esblend("--help").stdout
    for word in ("up", "attach", "index", "status", "search", "gateway", "worker", "feed", "Exit codes"):
        assert word in shown
    assert "JSONL" in run_esblend("index", "--help").stdout


def test_a_wrong_option_is_a_wrong_usage() -> None:
    assert run_esblend("attach", "i", "--feilds", "a").returncode == 2


def test_a_gateway_that_does_not_answer_is_an_exit_code_of_its_own() -> None:
    done = run_esblend("--gateway", "http://127.0.0.1:9", "search", "i", "x")
    assert done.returncode == 3
    assert "esblend up" in done.stderr
    as_json = run_esblend("search", "i", "x", "--json", env={"ESBLEND_GATEWAY_URL": "http://127.0.0.1:9"})
    assert as_json.returncode == 3
    assert json.loads(as_json.stdout)["error"]["type"] == "connection_exception"


EVERY_COMMAND = {
    "status": [], "backfill": ["i"], "index": ["i", "README.md"], "search": ["i", "x"], "attach": ["i", "--fields", "t"],
    "detach": ["i"], "migrate": ["i", "--model", "m"], "advise": ["i"], "eval": ["i", "--from-titles", "t"],
    "tune": ["i", "--from-titles", "t"], "train": ["out", "--model", "m", "--index", "i", "--qrels", "q.csv"], "verify": ["i"],
    "doctor": [], "dead-letters list": [], "dead-letters show": ["i", "x"], "dead-letters retry": ["i"], "dead-letters drop": ["i"],
    "setup-credentials": ["--indices", "i"], "config show": [], "ps": [], "logs": [], "down": [],
}  # fmt: skip
WITHOUT_JSON = ("logs", "down")


def test_every_command_with_a_data_dir_is_tried() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    sections = [section for section in page.split("\n### esblend ")[1:] if "`--data-dir`" in section]
    assert {section.splitlines()[0] for section in sections} - {"up", "demo"} == set(EVERY_COMMAND)


@pytest.mark.parametrize("command", EVERY_COMMAND)
def test_a_data_dir_without_a_stack_is_an_error(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another gateway would be another cluster, even one that ESBLEND_GATEWAY_URL names."""
    (tmp_path / "q.csv").write_text("query,document,grade\na,b,1\n")
    words = [str(tmp_path / word) if word == "q.csv" else word for word in EVERY_COMMAND[command]]
    as_json = [] if command in WITHOUT_JSON else ["--json"]
    arguments = [*command.split(), *words, "--data-dir", str(tmp_path), *as_json]
    monkeypatch.setenv("ESBLEND_GATEWAY_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(sys, "argv", ["esblend", *arguments])
    with pytest.raises(SystemExit) as ended:
        app(arguments)
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert f"no stack in {tmp_path}; start one with: esblend up --data-dir {tmp_path}" in told.err
    if as_json:
        assert json.loads(told.out)["error"]["type"] == "local_stack_exception"


def test_a_gateway_and_a_data_dir_contradict_each_other(stack: Stack) -> None:
    nowhere = "http://127.0.0.1:9"
    both = run_esblend("--gateway", nowhere, "status", "--data-dir", str(stack.data_dir))
    assert both.returncode == 2
    assert "--gateway" in both.stderr
    data_dir = {"ESBLEND_DATA_DIR": str(stack.data_dir)}
    assert run_esblend("--gateway", nowhere, "status", env=data_dir).returncode == 3
    assert stack.run_esblend("status", env={"ESBLEND_GATEWAY_URL": nowhere}).returncode == 0


def test_settings_and_hints_are_those_of_the_named_stack(stack: Stack, index_name: str) -> None:
    shown = json.loads(stack.esblend("config", "show", "--json").stdout)
    assert shown["es_url"] == {"value": stack.described["elasticsearch"], "source": "stack"}
    stack.es.indices.create(index=index_name, mappings={"properties": {"t": {"type": "text"}}})
    told = stack.esblend("attach", index_name, "--fields", "t").stdout
    assert f"esblend status {index_name} --watch --data-dir {stack.data_dir}" in told
    open_ = stack.run_esblend("setup-credentials", "--indices", "x", "--user", "u", env={"ELASTIC_PASSWORD": "p"})
    assert open_.returncode == 1
    assert "Security is off in this Elasticsearch" in open_.stderr
    stack.es.indices.delete(index=index_name)


def test_a_rejected_key_is_not_taken_for_security_that_is_off() -> None:
    cause = {"type": "parse_exception", "reason": "failed to parse [expiration]"}
    with answering_server(400, {"error": {"root_cause": [cause], **cause}, "status": 400}) as url:
        key = ("setup-credentials", "--indices", "x", "--user", "u", "--password", "p", "--expiration", "soon")
        done = run_esblend(*key, env={"ESBLEND_ES_URL": url, "ESBLEND_GATEWAY_URL": url})
    assert done.returncode == 1
    assert "failed to parse [expiration]" in done.stderr


def test_names_in_brackets_are_printed(stack: Stack) -> None:
    """Rich took them for markup."""
    done = stack.esblend("eval", "t[bold]", "--clicks", "--json")
    assert done.returncode == 1
    assert "[t[bold]]" in done.stderr
    assert "[t[bold]]" in json.loads(done.stdout)["error"]["reason"]


@pytest.mark.parametrize(
    "arguments", [["backfill", "i", "--pause", "--resume"], ["search", "i"], ["status", "--wait", "soon"]]
)
def test_wrong_usage_is_json_too(arguments: list[str]) -> None:
    done = run_esblend(*arguments, "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["status"] == 400


def test_a_wrong_setting_is_named() -> None:
    done = run_esblend("config", "show", "--json", env={"ESBLEND_FEED_POLL_SECONDS": "often"})
    assert done.returncode == 2
    assert "ESBLEND_FEED_POLL_SECONDS" in done.stderr
    assert "ESBLEND_FEED_POLL_SECONDS" in json.loads(done.stdout)["error"]["reason"]


def test_from_files_to_an_answer(stack: Stack, index_name: str, tmp_path: Path) -> None:
    documents = [
        {"_id": "a", "title": "Whales", "body": "Large mammals of the sea."},
        {"_id": "b", "title": "Bread", "body": "Flour, water, yeast."},
    ]
    jsonl = tmp_path / "documents.jsonl"
    jsonl.write_text("".join(json.dumps(document) + "\n" for document in documents) + "broken\n")
    done = stack.run_esblend("index", index_name, str(jsonl), "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["indexed"] == 2
    assert f"{jsonl}:3" in json.loads(done.stdout)["errors"][0]

    attached = stack.run_esblend("attach", index_name, "--fields", "title,body", "--json")
    assert attached.returncode == 0, attached.stderr
    assert json.loads(attached.stdout)["attachment"]["source_fields"] == ["title", "body"]

    waited = stack.run_esblend("status", index_name, "--wait", "120", "--json")
    assert waited.returncode == 0
    assert json.loads(waited.stdout)["coverage"] == 1.0
    assert index_name in stack.run_esblend("status").stdout

    searched = stack.run_esblend("search", index_name, "marine animals", "--json", "-n", "1")
    assert [hit["_id"] for hit in json.loads(searched.stdout)["hits"]["hits"]] == ["a"]
    filtered = stack.run_esblend("search", index_name, "marine animals", "--filter", "title:bread", "--json")
    assert [hit["_id"] for hit in json.loads(filtered.stdout)["hits"]["hits"]] == ["b"]
    shown = stack.run_esblend("search", index_name, "marine animals", "--explain").stdout
    assert "Large mammals of the sea." in shown
    assert "raw score" in shown or "rank" in shown

    detached = stack.run_esblend("detach", index_name)
    assert detached.returncode == 0
    again = stack.run_esblend("search", index_name, "x")
    assert again.returncode == 1
    assert "not attached" in again.stderr
    stack.es.indices.delete(index=index_name)


def test_csv_and_folders(stack: Stack, index_name: str, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "one.md").write_text("# One\nFirst note.")
    (tmp_path / "table.csv").write_text("id,title\n1,A\n2,B\n")
    done = stack.run_esblend("index", index_name, str(tmp_path / "notes"), str(tmp_path / "table.csv"))
    assert (done.returncode, done.stdout) == (0, f"Indexed 3 documents into {index_name}.\n")
    missing = stack.run_esblend("index", index_name, str(tmp_path / "nothing.csv"))
    assert missing.returncode == 2
    assert "nothing.csv" in missing.stderr
    stack.es.indices.delete(index=index_name)


def test_ps_tells_the_same_as_up(stack: Stack) -> None:
    shown = json.loads(stack.run_esblend("ps", "--json").stdout)
    assert {key: shown[key] for key in ("elasticsearch", "redis", "gateway")} == {
        key: stack.described[key] for key in ("elasticsearch", "redis", "gateway")
    }
    assert set(shown["pids"]) == {"elasticsearch", "redis", "feed", "worker", "gateway"}
    for pids in shown["pids"].values():
        assert all(psutil.pid_exists(pid) for pid in pids)


def test_up_on_a_running_stack_changes_nothing(stack: Stack) -> None:
    before = json.loads(stack.run_esblend("ps", "--json").stdout)
    assert json.loads(stack.run_esblend("up", "--json").stdout)["pids"] == before["pids"]
    refused = stack.run_esblend("up", "--nodes", "3")
    assert refused.returncode == 1
    assert "--nodes" in refused.stderr


def test_logs_show_each_process(stack: Stack) -> None:
    shown = stack.run_esblend("logs", "gateway", "--lines", "100000").stdout
    assert "gateway ready" in shown


@pytest.mark.parametrize(
    "package",
    [
        "esblend",
        "esblend.settings",
        "mappings.lifecycle",
        "indexer.feed.process",
        "workers.embed",
        "query.gateway.application",
    ],
)
def test_importing_does_not_load_torch(package: str) -> None:
    code = f"import sys, {package}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("columns", [80, 160])
def test_cards_and_hits_fit_the_terminal(stack: Stack, index_name: str, columns: int) -> None:
    long = {"title": "A title of many words " * 8, "body": "A long body about marine animals. " * 60}
    stack.es.bulk(index=index_name, operations=[{"index": {"_id": "a"}}, long, {"index": {"_id": "b"}}, {"title": ""}])
    stack.attach(index_name, "title", "body")
    stack.wait(index_name)
    shown = stack.run_esblend("status", index_name, env={"COLUMNS": str(columns)}).stdout
    assert "1 of 2 documents have vectors" in shown
    assert "100.0 %" in shown
    assert "1 without text" in shown
    hits = stack.run_esblend("search", index_name, "marine animals", "--explain", env={"COLUMNS": str(columns)}).stdout
    assert all(len(line) <= columns for line in (shown + hits).splitlines())
    assert "█" in hits
    stack.es.indices.delete(index=index_name)


def test_errors_of_json_commands_are_json(stack: Stack) -> None:
    done = stack.run_esblend("search", "test-absent", "x", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["type"] == "index_not_found_exception"


def test_up_names_what_is_wrong_with_a_given_elasticsearch(stack: Stack, tmp_path: Path) -> None:
    """Each fault is named within seconds, before anything starts."""
    port = urlsplit(stack.described["elasticsearch"]).port
    redis = urlsplit(stack.described["redis"]).port
    faults = {
        "http://127.0.0.1:9": "nothing listens at http://127.0.0.1:9",
        f"https://127.0.0.1:{port}": "TLS",
        f"http://127.0.0.1:{redis}": "is not an HTTP server",
        stack.described["gateway"]: "is an esblend gateway",
    }
    for number, (url, reason) in enumerate(faults.items()):
        done = run_esblend("up", "--es", url, "--data-dir", str(tmp_path / str(number)))
        assert done.returncode == 1
        assert reason in done.stderr.replace("\n", " "), done.stderr
        assert not (tmp_path / str(number) / "stack.json").exists()


def test_up_in_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run_esblend("up", "--data-dir", str(tmp_path / "file" / "stack"))
    assert done.returncode == 1
    assert "cannot be created" in done.stderr
