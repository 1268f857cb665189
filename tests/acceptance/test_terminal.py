"""Tables and cards at a terminal of 80 columns: lines fit, and no number and no name is cut."""

import uuid
from collections.abc import Iterator

import pytest

from tests.conftest import ESBLEND, Stack
from tests.terminal import run_in_terminal

INDEX = f"test-an-index-with-a-name-that-takes-half-of-a-terminal-{uuid.uuid4().hex[:4]}"
LONG = "a-document-whose-id-is-longer-than-the-terminal-is-wide-" * 2
COMMANDS = {
    "status": ["1 of 3 documents have vectors", "1 dead letter", "1 without text"],
    "search": [" 1  Whales", "█", "lexical", "semantic", "dot product"],
    "dead-letters list": ["1 attempt, ", "    its text has 4 passages, but the attachment stores one vector"],
    "verify": ["3 documents", "1 dead letter"],
    "advise": ["int8_hnsw", "KiB", "Recommended:"],
    "backfill": ["changes left"],
    "doctor": ["ok", "Elasticsearch"],
    "config show": ["es_url", "default"],
    "ps": ["gateway", "running"],
}
"""Each command, and what it shows."""
MORE = {"search": [INDEX, "animals of the sea", "--explain"], "doctor": [], "config show": [], "ps": []}


@pytest.fixture(scope="module")
def index(stack: Stack) -> Iterator[str]:
    """One vector per document: one has it, one has no text, and one is a dead letter, because its text is two passages."""
    stack.es.indices.create(index=INDEX, settings={"number_of_replicas": 0})
    for id_, body in {"whales": "Large mammals.", LONG: "And so on. " * 40, "empty": ""}.items():
        stack.es.index(index=INDEX, id=id_, document={"title": id_.title() if body else "", "body": body})
    stack.attach(INDEX, "title", "body", vector={"layout": "flat"}, passages={"max_tokens": 60, "overlap_tokens": 0})
    stack.wait(INDEX)
    yield INDEX
    stack.es.indices.delete(index=INDEX)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_terminal_of_80_columns(stack: Stack, index: str, command: str) -> None:
    words = [*command.split(), *MORE.get(command, [index]), "--data-dir", str(stack.data_dir)]
    code, shown = run_in_terminal([*ESBLEND, *words], 80)
    assert code == 0, shown
    assert "…" not in shown
    for expected in COMMANDS[command]:
        assert expected in shown, shown
    tables = [line for line in shown.splitlines() if "http" not in line and "esblend " not in line]
    assert max(map(len, tables)) <= 80, shown
