"""Keeps the files of test servers in memory.

Elasticsearch waits for the disk at each write and each change of the cluster state. Without these waits, creating an index and
writing into it takes half the time, and a third less CPU.
"""

import os
import shutil
import tempfile
from pathlib import Path

import psutil

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (a file system in memory is the point)
_PREFIX = "esblend-tests-"
_NEEDED_BYTES = 4 << 30
"""Of all test processes together: some hundred MB each."""
_NEEDED_MEMORY_BYTES = 10 << 30
"""With the servers' own memory."""


def put_into_memory(folder: Path) -> None:
    """Make `folder` a link to a new folder in memory. Where memory has no room for it, nothing changes."""
    if not has_room():
        return
    _remove_leftovers()
    target = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=SHARED_MEMORY))
    target.chmod(0o755)  # Elasticsearch runs as another user when the tests run as root
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.symlink_to(target, target_is_directory=True)


def remove_from_memory(folder: Path) -> None:
    if folder.is_symlink():
        shutil.rmtree(folder.readlink(), ignore_errors=True)
        folder.unlink()


def has_room() -> bool:
    return (
        SHARED_MEMORY.is_dir()
        and os.access(SHARED_MEMORY, os.W_OK)
        and shutil.disk_usage(SHARED_MEMORY).free > _NEEDED_BYTES
        and psutil.virtual_memory().available > _NEEDED_MEMORY_BYTES
    )


def _remove_leftovers() -> None:
    """Folders of test processes that were killed."""
    for folder in SHARED_MEMORY.glob(f"{_PREFIX}*"):
        process, _, _ = folder.name.removeprefix(_PREFIX).partition("-")
        if process.isdecimal() and not psutil.pid_exists(int(process)):
            shutil.rmtree(folder, ignore_errors=True)
