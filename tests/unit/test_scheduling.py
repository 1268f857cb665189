"""The choice of the next test file for a process."""

import re

import pytest

from tests.conftest import ROOT
from tests.scheduling import DIVIDED, LONGEST, next_unit, servers, unit_of

FAULT, OTHER_FAULT = "tests/real/test_recovery.py", "tests/real/test_brokers.py"
WHOLE, SECURED, UNIT = (
    "tests/real/test_hybrid.py",
    "tests/real/secured/test_security.py",
    "tests/unit/test_scheduling.py",
)


def chosen(*files: str, started: str = "", others: tuple[str, ...] = ()) -> str:
    return next_unit(files, frozenset(filter(None, [started])), [frozenset([name]) for name in others])


def test_each_file_needs_one_kind_of_servers() -> None:
    assert [servers(file) for file in (FAULT, WHOLE, SECURED, UNIT)] == ["stack", "stack", "secured", None]
    assert servers("tests/real/playground/test_accessibility.py") == "stack"
    assert servers("tests/real/secured/test_sign_in.py") == "secured"


def test_a_process_prefers_files_for_its_servers_then_files_without_servers() -> None:
    assert chosen(UNIT, SECURED, WHOLE, started="stack") == WHOLE
    assert chosen(SECURED, UNIT, started="stack") == UNIT
    assert chosen(WHOLE, SECURED, UNIT, started="secured", others=("stack",)) == SECURED
    assert chosen(WHOLE, SECURED, started="stack", others=("secured",)) == WHOLE


def test_one_process_has_the_secured_stack() -> None:
    files = (UNIT, WHOLE, SECURED, FAULT)
    assert chosen(*files) == FAULT
    assert chosen(*files, others=("stack",)) == SECURED
    assert chosen(*files, others=("stack", "secured")) == FAULT
    assert chosen(SECURED, UNIT, started="stack", others=("secured",)) == UNIT
    assert chosen(UNIT, others=("stack",)) == UNIT


def test_the_longest_units_come_first_and_exist() -> None:
    assert chosen(WHOLE, FAULT, OTHER_FAULT, started="stack") == OTHER_FAULT
    assert chosen(WHOLE, f"{FAULT}::test_a", started="stack") == f"{FAULT}::test_a"
    assert all((ROOT / file).is_file() for file in (*LONGEST, *DIVIDED))
    assert len(set(LONGEST)) == len(LONGEST)


def test_each_test_of_a_divided_file_is_a_unit() -> None:
    first, another = f"{FAULT}::test_a[x::y]", f"{FAULT}::test_b"
    assert [unit_of(first), unit_of(another)] == [first, another]
    assert unit_of(f"{WHOLE}::test_a[{FAULT}]") == WHOLE


@pytest.mark.parametrize("file", DIVIDED)
def test_the_tests_of_a_divided_file_share_no_expensive_preparation(file: str) -> None:
    """A fixture of the module would be made once a process."""
    shared = re.findall(r'@pytest\.fixture\(scope="module".*\)\ndef (\w+)', (ROOT / file).read_text("utf-8"))
    assert shared in ([], ["folder"])
