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
