"""Commands that do two things check the second before the first, and ask before they remove the newer vectors."""

import json
from collections.abc import Callable

import pytest

from tests.conftest import Stack
from tests.real.faults import wait_for


@pytest.fixture
def index(stack: Stack, make_index: Callable[..., str]) -> str:
    name = make_index({"title": "Whales", "body": "Large mammals of the sea."}, {"title": "Bread", "body": "Flour."})
    stack.attach(name, "title", "body")
    stack.wait(name)
    return name


def test_detach_names_an_existing_index_before_it_detaches(stack: Stack, index: str) -> None:
    done = stack.esblend("detach", index, "--reindex", index)
    assert done.returncode == 2
    assert "exists" in done.stderr
    assert stack.call("GET", f"/_esblend/indices/{index}")["attachment"]


def test_migrate_to_the_present_settings_offers_no_roll_back(stack: Stack, index: str) -> None:
    done = stack.esblend("migrate", index, "--model", "minilm")
    assert done.returncode == 0, done.stderr
    assert "nothing was changed" in " ".join(done.stdout.split())
    assert "--roll-back" not in done.stdout


def test_judgements_that_cannot_be_read_end_a_migration_before_it_begins(stack: Stack, index: str) -> None:
    done = stack.esblend("migrate", index, "--max-tokens", "64", "--overlap-tokens", "8", "--qrels", "nothing.csv")
    assert done.returncode == 2
    assert "nothing.csv" in done.stderr
    assert list(stack.call("GET", f"/_esblend/indices/{index}/generations")["generations"]) == ["g1"]


def test_after_a_roll_back_the_newer_generation_is_dropped_only_when_confirmed(stack: Stack, index: str) -> None:
    migrated = stack.esblend("migrate", index, "--max-tokens", "64", "--overlap-tokens", "8", "--json")
    assert json.loads(migrated.stdout)["switched"] is True, migrated.stderr
    assert stack.esblend("migrate", index, "--roll-back").returncode == 0
    refused = stack.esblend("migrate", index, "--drop-old")
    assert refused.returncode == 2
    assert "g2" in refused.stderr
    assert "--yes" in refused.stderr
    assert sorted(stack.call("GET", f"/_esblend/indices/{index}/generations")["generations"]) == ["g1", "g2"]
    dropped = stack.esblend("migrate", index, "--drop-old", "--yes", "--json")
    assert json.loads(dropped.stdout)["dropped"] == ["g2"]


def test_a_paused_backfill_is_paused_even_when_nothing_is_left(stack: Stack, index: str) -> None:
    path = f"/_esblend/indices/{index}/status"
    wait_for("the end of the backfill", lambda: stack.call("GET", path)["backfill"]["remaining"] == 0)
    assert stack.esblend("backfill", index, "--pause").stdout.startswith("paused: 0 changes left")
    assert stack.esblend("backfill", index, "--resume").stdout.startswith("done: 0 changes left")


def test_verify_lists_faults_only(stack: Stack, index: str) -> None:
    clean = stack.esblend("verify", index)
    assert clean.returncode == 0, clean.stderr
    assert "missing" not in clean.stdout
    assert "2 documents, 2 embedded" in " ".join(clean.stdout.split())


def test_the_status_has_a_line_for_a_migration(stack: Stack, index: str) -> None:
    stack.call("POST", f"/_esblend/indices/{index}/backfill", {"paused": True})
    stack.call("POST", f"/_esblend/indices/{index}/generations", {"passages": {"max_tokens": 64, "overlap_tokens": 8}})
    status = json.loads(stack.esblend("status", index, "--json").stdout)
    assert {name: value["missing"] for name, value in status["generations"].items()} == {"g1": None, "g2": 2}
    assert "0.0 %  migration to g2 (minilm): 0 of 2" in stack.esblend("status", index).stdout
    stack.call("POST", f"/_esblend/indices/{index}/backfill", {"paused": False})
    assert json.loads(stack.esblend("migrate", index, "--max-tokens", "64", "--overlap-tokens", "8", "--json").stdout)[
        "switched"
    ]
    assert "also g1 (minilm), for a roll-back" in stack.esblend("status", index).stdout


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("title:(", "Failed to parse query [title:(]"),
        ('{"term": 3}', "[term] query malformed"),
        ('{"nonsense": {}}', "unknown query [nonsense]"),
        ('{"term": {"title": "whales"}', "--filter is not JSON"),
    ],
)
def test_a_bad_filter_is_named(stack: Stack, index: str, given: str, reason: str) -> None:
    """It said "all shards failed", or at which column of a body that the user has not written."""
    done = stack.esblend("search", index, "animals", "--filter", given)
    assert done.returncode == (2 if "JSON" in reason else 1)
    assert reason in done.stderr
    assert "failed to parse field" not in done.stderr
    as_json = stack.esblend("search", index, "animals", "--filter", given, "--json")
    assert json.loads(as_json.stdout)["status"] == 400
