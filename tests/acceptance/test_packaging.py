"""What is published: a wheel and a source archive that hold the packages and nothing else, and work where they are installed."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = {"esblend", "mappings", "indexer", "workers", "query"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean folder with what the Dockerfile copies, as it copies it."""
    clean = tmp_path_factory.mktemp("image") / "app"
    clean.mkdir()
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY"):
            *names, target = line.split()[1:]
            for name in names:
                folder = clean / target if target != "./" else clean / name
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, folder, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / name, folder)
    return clean


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    target = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {"wheel": next(target.glob("*.whl")), "sdist": next(target.glob("*.tar.gz"))}


def test_the_wheel_holds_the_packages_and_nothing_else(built: dict[str, Path]) -> None:
    with zipfile.ZipFile(built["wheel"]) as wheel:
        names = set(wheel.namelist())
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == PACKAGES
    assert {"esblend/py.typed", "query/playground/static/app.js", "query/lab/templates/report.html"} <= names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_source_archive_holds_no_tests_or_data(built: dict[str, Path]) -> None:
    with tarfile.open(built["sdist"]) as archive:
        parts = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    assert not parts & {"tests", "bench", "docs", "examples", "shared"}


@pytest.fixture(scope="module")
def installed(built: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel; this one lends the dependencies, so that gigabytes are not downloaded."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True, timeout=120)
    python = venv / "bin" / "python"
    pip(python, "install", "--no-deps", str(built["wheel"]))
    return python


def pip(python: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--python", str(python), "-q", *arguments]
    subprocess.run(command, check=True, timeout=120, cwd=python.parent)


LENT = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("ESBLEND_")}
    env |= {"PYTHONPATH": LENT, **environment}
    cwd = Path(command[0]).parent
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def test_it_works_where_it_is_installed(installed: Path) -> None:
    where = run(str(installed), "-c", "import esblend, query.gateway; print(esblend.__file__, query.gateway.__file__)")
    assert all(name.startswith(str(installed.parent.parent)) for name in where.stdout.split()), where.stderr
    for command in ([str(installed.with_name("esblend"))], [str(installed), "-m", "esblend"]):
        assert "attach" in run(*command, "--help").stdout
        shown = run(*command, "config", "show", "--json")
        assert shown.returncode == 0, shown.stderr
        assert "ESBLEND" not in shown.stdout


@pytest.fixture(scope="module")
def colliding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of another distribution with a package called query."""
    folder = tmp_path_factory.mktemp("colliding")
    (folder / "query").mkdir()
    (folder / "query" / "__init__.py").write_text("SELECT = 1\n")
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "somebody-elses-query"\nversion = "1"\n[tool.setuptools]\npackages = ["query"]\n'
    )
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*command, str(folder)], check=True, timeout=120)
    return next(folder.glob("*.whl"))


def test_a_distribution_that_hides_a_package_is_named(installed: Path, colliding: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(tmp_path)]
    subprocess.run([*command, str(colliding)], check=True, timeout=120)
    refused = run(str(installed.with_name("esblend")), "--help", PYTHONPATH=os.pathsep.join([str(tmp_path), LENT]))
    assert refused.returncode == 1
    assert "[query]" in refused.stderr
    assert "[somebody-elses-query]" in refused.stderr


def test_a_distribution_that_overwrites_a_package_is_named(
    built: dict[str, Path], installed: Path, colliding: Path
) -> None:
    pip(installed, "install", "--no-deps", str(colliding))
    refused = run(str(installed.with_name("esblend")), "--help")
    pip(installed, "install", "--no-deps", "--force-reinstall", str(built["wheel"]))
    assert refused.returncode == 1
    assert "[somebody-elses-query]" in refused.stderr
    assert run(str(installed.with_name("esblend")), "--help").returncode == 0
