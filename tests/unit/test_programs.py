"""The programs that the tests start are found or named before anything is installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from esblend.local.distribution import DEFAULT_VERSION, find_distribution
from tests import programs
from tests.conftest import ROOT


def install(path: str) -> subprocess.CompletedProcess[str]:
    """The first step of `make test`, by a Python without any installed package."""
    env = {key: value for key, value in os.environ.items() if key != "ESBLEND_TEST_BROWSER"} | {"PATH": path}
    command = [sys.executable, "-S", "-m", "tests.programs", "install"]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_a_machine_with_all_programs_installs_nothing() -> None:
    done = install(os.environ["PATH"])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_a_package_manager_one_message_names_tests_and_commands(tmp_path: Path) -> None:
    done = install(str(tmp_path))
    assert done.returncode == 1
    for word in ("Chromium", "OpenSSL", "curl", "tests/real/playground/test_results.py", "tests/real/test_docs.py"):
        assert word in done.stderr
    for command in ("apt-get install", "dnf install", "pacman -S", "brew install"):
        assert sum(line.count(command) for line in done.stderr.splitlines()) == 1


@pytest.mark.parametrize("program", programs.PROGRAMS, ids=lambda program: program.name)
def test_each_program_has_tests_and_a_package_everywhere(program: programs.Program) -> None:
    assert programs.tests_that_need(program)
    assert set(program.packages) == {"apt", "dnf", "pacman", "brew"}


def test_the_jdk_is_the_one_that_the_default_elasticsearch_needs() -> None:
    distribution = find_distribution(DEFAULT_VERSION)
    assert (distribution.oldest_java, distribution.newest_java) == (programs.OLDEST_JAVA, programs.NEWEST_JAVA)
