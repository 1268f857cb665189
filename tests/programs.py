"""The programs that the tests start, and how to install them. `make test` runs this file twice:

    python -m tests.programs install    before pip: apt-get installs missing programs; elsewhere it prints the commands and fails
    python -m tests.programs download   after pip: the JDK (if none is installed) and Elasticsearch, once a machine

The first step imports the standard library only, because nothing else is installed yet.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from esblend.local.java import installed_java

ROOT = Path(__file__).parent.parent
OLDEST_JAVA, NEWEST_JAVA = 21, 99
"""The JDKs that the default Elasticsearch runs on (see esblend/local/distribution.py)."""
_BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""The first one is Chromium without its windows: it needs a third of the CPU."""
_MAC_BROWSERS = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
_RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server"
"""Debian's script on PATH starts the server as another user, so this one is preferred."""


def browser() -> str | None:
    """The Chromium to test with: `ESBLEND_TEST_BROWSER`, else an installed one."""
    on_path = (path for name in _BROWSERS if (path := shutil.which(name)))
    return os.environ.get("ESBLEND_TEST_BROWSER") or next(on_path, None) or _first_file(_MAC_BROWSERS)


def rabbitmq_server() -> str | None:
    """The script that starts RabbitMQ in the foreground as the present user."""
    return _first_file([_RABBITMQ]) or shutil.which("rabbitmq-server")


def _first_file(names: Sequence[str]) -> str | None:
    return next((name for name in names if os.access(name, os.X_OK)), None)


def _jdk() -> str | None:
    java = installed_java(OLDEST_JAVA, NEWEST_JAVA)
    return str(java.home) if java else None


@dataclass(frozen=True)
class Program:
    name: str
    find: Callable[[], str | None]
    """Its path, or None if it is missing."""
    used_by: str
    """A regular expression that occurs in each test file that needs the program."""
    packages: dict[str, str]
    """The package manager's name -> the package. For apt several alternatives, the preferred one first."""
    downloadable: bool = False
    """Whether esblend downloads it when no package has it."""


_EVERYWHERE = ("apt", "dnf", "pacman", "brew")
PROGRAMS = (
    Program(
        f"JDK {OLDEST_JAVA} or newer",
        _jdk,
        r"(stack|secured): Stack\b|\bstart_stack\(",
        {
            "apt": "openjdk-25-jdk-headless openjdk-21-jdk-headless",
            "dnf": "java-latest-openjdk-devel",
            "pacman": "jdk-openjdk",
            "brew": "temurin",
        },
        downloadable=True,
    ),
    Program(
        "Chromium",
        browser,
        r"^from playwright\b|\nfrom playwright\b",
        {"apt": "chromium-headless-shell chromium", "dnf": "chromium", "pacman": "chromium", "brew": "google-chrome"},
    ),
    Program(
        "RabbitMQ",
        rabbitmq_server,
        r"\bprograms\.rabbitmq_server\(",
        {"apt": "rabbitmq-server", "dnf": "rabbitmq-server", "pacman": "rabbitmq", "brew": "rabbitmq"},
    ),
    Program(
        "OpenSSL", lambda: shutil.which("openssl"), r"\bmake_certificates\(", dict.fromkeys(_EVERYWHERE, "openssl")
    ),
    Program("curl", lambda: shutil.which("curl"), r"\brun_shell\(", dict.fromkeys(_EVERYWHERE, "curl")),
)


def main(step: str) -> int:
    if step == "download":
        return _download()
    missing = [program for program in PROGRAMS if not program.find()]
    as_root = _as_root()
    if missing and shutil.which("apt-get") and as_root is not None:
        _apt_install(missing, as_root)
        missing = [program for program in PROGRAMS if not program.find()]
    if all(program.downloadable for program in missing):
        return 0
    sys.stderr.write(advice(missing))
    return 1


def _as_root() -> list[str] | None:
    """What to put before a command that needs root; None if that would ask for a password."""
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode == 0:
        return [sudo, "-n"]
    return None


def _apt_install(missing: Sequence[Program], as_root: Sequence[str]) -> None:
    """Install with apt-get what it has. A failure shows apt-get's own message; the caller looks at what is still missing."""
    _run([*as_root, "apt-get", "update", "-qq"])
    packages = [package for program in missing if (package := _available(program.packages["apt"]))]
    if not packages:
        return
    sys.stdout.write(f"Installing what the tests need: {' '.join(packages)}\n")
    sys.stdout.flush()
    # RUNLEVEL=1 keeps Debian from starting the RabbitMQ server: the tests start their own.
    environment = ["env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1"]
    _run([*as_root, *environment, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages])


def _available(alternatives: str) -> str | None:
    """The first of the packages that apt-get can install."""
    for package in alternatives.split():
        command = ["apt-get", "install", "--simulate", "-qq", "--no-install-recommends", package]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return package
    return None


def _run(command: Sequence[str]) -> None:
    """Run apt-get, whose output is shown only if it fails."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        sys.stderr.write(done.stdout)


def advice(missing: Sequence[Program]) -> str:
    """What is missing, the tests that would fail, and the command for each platform."""
    lines = ["The tests need programs that are not installed:"]
    for program in missing:
        note = "; esblend downloads one where the network allows" if program.downloadable else ""
        lines.append(f"  {program.name}{note}. Without it these fail: {', '.join(tests_that_need(program))}")

    def packages(manager: str) -> str:
        return " ".join(program.packages[manager].split()[-1] for program in missing)

    lines += [
        "Install them and run the command again:",
        f"  Debian, Ubuntu  sudo env RUNLEVEL=1 apt-get install --no-install-recommends {packages('apt')}",
        f"  Fedora          sudo dnf install {packages('dnf')}",
        f"  Arch            sudo pacman -S --needed {packages('pacman')}",
        f"  macOS           brew install {packages('brew')}",
    ]
    return "\n".join(lines) + "\n"


def tests_that_need(program: Program) -> list[str]:
    """The test files that use the program, relative to the repository."""
    files = sorted(Path(__file__).parent.rglob("test_*.py"))
    return [str(file.relative_to(ROOT)) for file in files if re.search(program.used_by, file.read_text("utf-8"))]


def _download() -> int:
    """Download the JDK and Elasticsearch before the first test, so that the progress is visible and a failure stops here."""
    from esblend.errors import LocalStackError
    from esblend.local.distribution import DEFAULT_VERSION, find_distribution, install_elasticsearch
    from esblend.local.java import find_java

    distribution = find_distribution(DEFAULT_VERSION)
    try:
        find_java(distribution.oldest_java, distribution.newest_java)
        install_elasticsearch(distribution)
    except LocalStackError as error:
        sys.stderr.write(f"{error.reason}\n")
        return 1
    return 0


if __name__ == "__main__":
    if sys.argv[1:] not in (["install"], ["download"]):
        sys.exit(f"usage: {shlex.quote(sys.executable)} -m tests.programs install|download")
    sys.exit(main(sys.argv[1]))
