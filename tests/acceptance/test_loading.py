"""`esblend index` with what people have, through a real stack."""

import gzip
import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ESBLEND, Stack, run_esblend
from tests.real.faults import wait_for


def test_repeating_the_command_changes_nothing(stack: Stack, index_name: str, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "one.md").write_text("---\ntitle: First\ntopic: sea\n---\n# One\nA note.")
    (tmp_path / "notes" / "page.html").write_text("<title>Page</title><main>About whales.</main>")
    (tmp_path / "notes" / ".hidden.md").write_text("no")
    (tmp_path / "notes" / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / "table.csv").write_text("\ufefftitle;body\nA;x\nB;y\n")
    (tmp_path / "more.jsonl.gz").write_bytes(gzip.compress(b'{"title": "C"}\n'))
    files = [str(tmp_path / name) for name in ("notes", "table.csv", "more.jsonl.gz")]
    counts = []
    for _ in range(2):
        done = stack.esblend("index", index_name, *files, "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert (told["indexed"], told["failed"]) == (5, 0)
        assert told["skipped"] == {"hidden files or folders": 1, "files of an unknown kind (.png)": 1}
        counts.append(stack.es.count(index=index_name)["count"])
    assert counts == [5, 5]
    assert stack.es.get(index=index_name, id="one.md")["_source"]["topic"] == "sea"
    shown = stack.esblend("index", index_name, *files).stdout
    assert "1 files of an unknown kind (.png)" in shown
    stack.es.indices.delete(index=index_name)


def test_standard_input_a_mapping_and_renamed_fields(stack: Stack, index_name: str, tmp_path: Path) -> None:
    (tmp_path / "mapping.json").write_text('{"properties": {"title": {"type": "text"}, "sku": {"type": "keyword"}}}')
    command = [*ESBLEND, "index", index_name, "-", "--data-dir", str(stack.data_dir), "--id-field", "sku"]
    command += ["--map", "headline=title", "--mapping", str(tmp_path / "mapping.json")]
    lines = '{"sku": "7", "headline": "x"}\n{"headline": "y"}\n'
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "-:2: the document has no [sku]" in done.stderr.replace("\n", " ")
    assert stack.es.get(index=index_name, id="7")["_source"] == {"sku": "7", "title": "x"}
    assert stack.es.indices.get_mapping(index=index_name)[index_name]["mappings"]["properties"]["sku"] == {
        "type": "keyword"
    }
    stack.es.indices.delete(index=index_name)


def _with_interrupts() -> None:
    """A suite that runs in the background ignores interrupts, and its child processes inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_says_what_was_done(stack: Stack, index_name: str) -> None:
    command = [*ESBLEND, "index", index_name, "-", "--data-dir", str(stack.data_dir)]
    lines = "".join(json.dumps({"_id": str(number), "text": "x" * 100}) + "\n" for number in range(30_000))
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_with_interrupts,
    ) as run:
        assert run.stdin is not None
        run.stdin.write(lines)
        run.stdin.flush()
        wait_for("documents", lambda: bool(count(stack, index_name)))
        run.send_signal(signal.SIGINT)
        _, told = run.communicate(timeout=240)
    assert run.returncode == 130
    assert "Interrupted after" in told
    stack.es.indices.delete(index=index_name)


def count(stack: Stack, index: str) -> int:
    stack.es.indices.refresh(index=index, ignore_unavailable=True)
    return int(stack.es.options(ignore_status=404).count(index=index).get("count", 0))


def test_a_limit_of_errors_ends_the_run(stack: Stack, index_name: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("broken\n" * 50 + '{"a": 1}\n')
    done = stack.esblend("index", index_name, str(tmp_path / "a.jsonl"), "--max-errors", "7", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert (told["indexed"], told["failed"], told["stopped"]) == (0, 7, True)


def test_a_line_that_elasticsearch_would_not_take_is_named(stack: Stack, index_name: str, tmp_path: Path) -> None:
    with (tmp_path / "a.jsonl").open("w") as file:
        file.write('{"a": "' + "x" * 100_000_000 + '"}\n{"a": "y"}\n')
    done = stack.esblend("index", index_name, str(tmp_path / "a.jsonl"), "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["indexed"]) == (1, 1)
    assert told["errors"] == [f"{tmp_path}/a.jsonl:1: the line is longer than 64 MiB"]
    stack.es.indices.delete(index=index_name)


@pytest.mark.parametrize(
    "options", [["--map", "title"], ["--delimiter", "::"], ["--encoding", "nonsense"], ["--max-errors", "0"]]
)
def test_wrong_options_are_wrong_usage(options: list[str]) -> None:
    done = run_esblend("index", "i", "-", *options)
    assert done.returncode == 2
    assert options[0] in done.stderr
