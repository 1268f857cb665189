"""Which process runs which test file: a process prefers files that need the servers that it has already started.

    search, recovery, ...  ->  processes with a stack             \
    security, sign-in      ->  one process with a secured stack   /  files without servers fill the gaps
"""

import re
from collections.abc import Iterable
from functools import cache

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

from tests.conftest import ROOT

SERVERS = ("stack", "secured")
"""Fixtures that start servers, in the order in which processes choose them."""
LONGEST = (
    "tests/real/test_recovery.py",
    "tests/real/test_index_surgery.py",
    "tests/real/test_docs.py",
    "tests/real/test_relevance.py",
    "tests/real/test_lab.py",
    "tests/real/test_versions.py",
    "tests/real/playground/test_results.py",
    "tests/real/test_index_problems.py",
    "tests/unit/esblend/encoder/test_architectures.py",
)
"""These files start first, so that no process runs one of them alone at the end."""


class ByServers(LoadFileScheduling):
    """Each file runs in one process. It differs from `loadfile` in the choice of the next file only."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        others = [servers_of(self.assigned_work[other]) for other in self.nodes if other is not node]
        scope = next_file(self.workqueue, servers_of(self.assigned_work[node]), others)
        self.workqueue.move_to_end(scope, last=False)
        super()._assign_work_unit(node)


def next_file(files: Iterable[str], started: frozenset[str], others: Iterable[frozenset[str]]) -> str:
    """The file for a process that has `started` servers; `others` are the servers of the other processes.

    First a file that needs these servers, then one that needs none, unless the process has no servers yet; then one that needs
    servers that no other process has, so that one process runs all files with a secured stack.
    """
    theirs = frozenset[str]().union(*others)

    def cost(file: str) -> tuple[int, int, int, int]:
        needed = servers(file)
        position = LONGEST.index(file) if file in LONGEST else len(LONGEST)
        if needed is None:
            return 1 if started else 3, 0, 0, position
        if needed in started:
            return 0, 0, 0, position
        return 2, int(needed in theirs), SERVERS.index(needed), position

    return min(files, key=cost)


def servers_of(files: Iterable[str]) -> frozenset[str]:
    """The servers that a process with these files has started."""
    return frozenset(needed for file in files if (needed := servers(file)))


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
