"""Finds a JDK for a given Elasticsearch, or downloads one.

Imports the standard library only, so that tests/programs.py can look for a JDK before anything is installed.
"""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from esblend.errors import LocalStackError

_FOLDERS_WITH_JVMS = (
    "/usr/lib/jvm", "/usr/java", "/opt", "/opt/java", "/usr/local/lib/jvm", "/Library/Java/JavaVirtualMachines",
    "~/.sdkman/candidates/java", "~/.jdks", "~/.local/share/mise/installs/java", "~/.asdf/installs/java",
)  # fmt: skip
_NEEDED_MODULES = {"jdk.incubator.vector", "jdk.jlink"}


@dataclass(frozen=True)
class Java:
    home: Path
    major: int

    @property
    def executable(self) -> Path:
        return self.home / "bin" / "java"


def read_java(home: Path) -> Java | None:
    """The JDK at `home` by its `release` file; None when it is absent or lacks modules that Elasticsearch needs."""
    try:
        release = (home / "release").read_text("utf-8", errors="replace")
    except OSError:
        return None
    version = re.search(r'^JAVA_VERSION="(?:1\.)?(\d+)', release, re.MULTILINE)
    if version is None or not os.access(home / "bin" / "java", os.X_OK):
        return None
    modules = re.search(r'^MODULES="([^"]*)"', release, re.MULTILINE)
    if modules is None:  # some distributions write no module list; then jmods distinguish a JDK from a runtime
        complete = (home / "bin" / "jlink").exists()
    else:
        complete = set(modules.group(1).split()) >= _NEEDED_MODULES
    return Java(home, int(version.group(1))) if complete else None


def find_java(oldest: int, newest: int) -> Java:
    """An installed JDK of major version `oldest` to `newest`, else one downloaded with cjdk. Raises LocalStackError with advice."""
    return installed_java(oldest, newest) or _fetch_java(oldest, newest)


def installed_java(oldest: int, newest: int) -> Java | None:
    """A JDK of major version `oldest` to `newest`: from the environment, else the newest in the usual folders."""
    for home in _named_homes():
        java = read_java(home)
        if java and oldest <= java.major <= newest:
            return java
    usual = [java for home in _usual_homes() if (java := read_java(home)) and oldest <= java.major <= newest]
    return max(usual, key=lambda java: java.major, default=None)


def _named_homes() -> Iterator[Path]:
    for variable in ("ES_JAVA_HOME", "JAVA_HOME"):
        if os.environ.get(variable):
            yield Path(os.environ[variable])
    on_path = shutil.which("java")
    if on_path:
        yield Path(on_path).resolve().parent.parent


def _usual_homes() -> Iterator[Path]:
    for name in _FOLDERS_WITH_JVMS:
        try:
            homes = sorted(Path(name).expanduser().iterdir())
        except OSError:
            continue
        for home in homes:
            yield home
            yield home / "Contents" / "Home"


def _fetch_java(oldest: int, newest: int) -> Java:
    from esblend.cache import cache_dir
    from esblend.cli.console import err

    wanted = min(newest, max(oldest, 21))
    err.print(f"No JDK {oldest} to {newest} on this machine; downloading JDK {wanted}.")
    try:
        import cjdk

        home = cjdk.java_home(vendor="temurin", version=str(wanted), cache_dir=cache_dir() / "jdk")
        java = read_java(Path(home))
    except Exception as error:  # cjdk raises its HTTP library's errors as well as its own
        raise LocalStackError(no_java_message(oldest, newest)) from error
    if java is None:
        raise LocalStackError(no_java_message(oldest, newest))
    return java


def no_java_message(oldest: int, newest: int) -> str:
    return (
        f"Elasticsearch needs a full JDK of version {oldest} to {newest}; none was found and none could be downloaded. Either\n"
        "  - install one (for example your distribution's openjdk package) or name it with ES_JAVA_HOME, or\n"
        "  - use a running Elasticsearch: ESBLEND_ES_URL=http://... or `esblend up --es http://...`, or\n"
        "  - run everything in containers: docker compose up"
    )
