"""Tells supervisors, by a file, that a process is ready for work."""

import contextlib
import os

import psutil

from esblend.settings import Settings


def forget_ready(settings: Settings) -> None:
    """Remove the ready file: this process is not ready."""
    if settings.ready_file:
        settings.ready_file.unlink(missing_ok=True)


def forget_dead(settings: Settings) -> None:
    """Remove the ready file when the process that wrote it is dead."""
    if settings.ready_file is None:
        return
    with contextlib.suppress(OSError, ValueError):
        if not psutil.pid_exists(int(settings.ready_file.read_text("utf-8"))):
            forget_ready(settings)


def announce_ready(settings: Settings) -> None:
    """Write the ready file, if one is configured. It contains the id of the process."""
    if settings.ready_file:
        settings.ready_file.parent.mkdir(parents=True, exist_ok=True)
        partial = settings.ready_file.with_suffix(".partial")
        partial.write_text(f"{os.getpid()}\n", "utf-8")
        partial.replace(settings.ready_file)
