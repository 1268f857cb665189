"""The choice of the next test file for a process."""

from tests.scheduling import LONGEST, next_file, servers

FAULT, OTHER_FAULT = "tests/real/test_recovery.py", "tests/real/test_brokers.py"
WHOLE, SECURED, UNIT = (
    "tests/real/test_hybrid.py",
    "tests/real/secured/test_security.py",
    "tests/unit/test_scheduling.py",
)


def chosen(*files: str, started: str = "", others: tuple[str, ...] = ()) -> str:
    return next_file(files, frozenset(filter(None, [started])), [frozenset([name]) for name in others])


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


def test_the_longest_files_come_first_and_exist() -> None:
    assert chosen(OTHER_FAULT, FAULT, started="stack") == FAULT
    assert all(
        servers(file) or file.startswith("tests/unit/") for file in LONGEST if file != "tests/real/test_versions.py"
    )
