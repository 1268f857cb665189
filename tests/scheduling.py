"""Which process runs which test file: a process prefers files that need the servers that it has already started.

    search, recovery, ...  ->  processes with a stack             \
    security, sign-in      ->  one process with a secured stack   /  files without servers fill the gaps

A unit of work is a file, or one test of a file in `DIVIDED`.
"""

import re
from collections.abc import Iterable
from functools import cache

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

from tests.conftest import ROOT

SERVERS = ("stack", "secured")
"""Fixtures that start servers, in the order in which processes choose them."""
DIVIDED = (
    "tests/real/test_recovery.py",
    "tests/real/test_docs.py",
    "tests/real/test_relevance.py",
    "tests/real/test_index_problems.py",
    "tests/real/test_feed_failures.py",
    "tests/real/test_feeds.py",
    "tests/acceptance/test_command_line.py",
)
"""Files that take a minute or more, and whose tests share nothing that costs much to prepare: each test is a unit of work."""
LONGEST = (
    "tests/real/test_index_surgery.py",
    "tests/real/secured/test_security.py",
    "tests/real/test_versions.py",
    "tests/real/test_relevance.py",
    "tests/unit/esblend/encoder/test_encoder.py",
    "tests/real/playground/test_results.py",
    "tests/real/test_true_vectors_workers.py",
    "tests/real/playground/test_accessibility.py",
    "tests/real/test_dead_letters.py",
    "tests/real/test_vectors.py",
    "tests/real/playground/test_judging.py",
    "tests/real/test_brokers.py",
    "tests/real/test_attach_restore.py",
    "tests/real/test_bulk_guard.py",
    "tests/real/secured/test_sign_in.py",
    "tests/unit/esblend/encoder/test_architectures.py",
    "tests/real/test_ranges.py",
    "tests/real/test_clauses.py",
    "tests/real/playground/test_late_answers.py",
    "tests/real/test_feed_index_surgery.py",
    "tests/real/test_differential.py",
    "tests/real/test_lab.py",
    "tests/real/test_feeds.py",
    "tests/real/test_feed_failures.py",
    "tests/real/test_index_problems.py",
    "tests/real/test_recovery.py",
    "tests/real/test_docs.py",
)
"""The units that take longest, in the order in which they start, so that no process runs one of them alone at the end."""


class ByServers(LoadFileScheduling):
    """Each unit runs in one process. It differs from `loadfile` in the units and in the choice of the next one."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        others = [servers_of(self.assigned_work[other]) for other in self.nodes if other is not node]
        scope = next_unit(self.workqueue, servers_of(self.assigned_work[node]), others)
        self.workqueue.move_to_end(scope, last=False)
        super()._assign_work_unit(node)


def unit_of(test: str) -> str:
    """The unit of work of a test: its file, or the test itself."""
    file = file_of(test)
    return test if file in DIVIDED else file


def file_of(unit: str) -> str:
    return unit.partition("::")[0]


def next_unit(units: Iterable[str], started: frozenset[str], others: Iterable[frozenset[str]]) -> str:
    """The unit for a process that has `started` servers; `others` are the servers of the other processes.

    First a unit that needs these servers, then one that needs none, unless the process has no servers yet; then one that needs
    servers that no other process has, so that one process runs all files with a secured stack.
    """
    theirs = frozenset[str]().union(*others)

    def cost(unit: str) -> tuple[int, int, int, int]:
        needed, file = servers(file_of(unit)), file_of(unit)
        position = LONGEST.index(file) if file in LONGEST else len(LONGEST)
        if needed is None:
            return 1 if started else 3, 0, 0, position
        if needed in started:
            return 0, 0, 0, position
        return 2, int(needed in theirs), SERVERS.index(needed), position

    return min(units, key=cost)


def servers_of(units: Iterable[str]) -> frozenset[str]:
    """The servers that a process with these units has started."""
    return frozenset(needed for unit in units if (needed := servers(file_of(unit))))


@cache
def servers(file: str) -> str | None:
    """The fixture whose servers the file needs; None when it needs none of them."""
    if file.startswith("tests/unit/"):
        return None
    if file.startswith("tests/real/secured/"):
        return "secured"
    # The files of the playground use the stack through the fixtures of their conftest.
    uses_stack = file.startswith("tests/real/playground/") or re.search(
        r"\b(fault_)?stack\b", (ROOT / file).read_text("utf-8")
    )
    return "stack" if uses_stack else None
