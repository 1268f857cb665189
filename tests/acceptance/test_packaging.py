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
                place = clean / target if target != "./" else clean / name
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, place, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / name, place)
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


def test_it_works_where_it_is_installed(built: dict[str, Path], tmp_path: Path) -> None:
    """In an environment of its own; what it depends on is lent by this one, so that gigabytes need not be fetched again."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True, timeout=120)
    python = tmp_path / "venv" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", str(built["wheel"])]
    subprocess.run(install, check=True, timeout=120, cwd=tmp_path)
    lent = next(path for path in sys.path if path.endswith("site-packages"))
    env = {key: value for key, value in os.environ.items() if not key.startswith("ESBLEND_")} | {"PYTHONPATH": lent}

    def run(*command: str) -> str:
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = run(
        str(python),
        "-c",
        "import esblend, query.gateway.application; print(esblend.__file__, query.gateway.application.__file__)",
    )
    assert all(name.startswith(str(tmp_path)) for name in where.split())
    assert "attach" in run(str(tmp_path / "venv" / "bin" / "esblend"), "--help")
    assert "ESBLEND" not in run(str(tmp_path / "venv" / "bin" / "esblend"), "config", "show", "--json")
