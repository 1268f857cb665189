"""Runs `esblend` commands in the test's process. To start another one takes longer than most commands: it imports for seconds.

The acceptance tests and the blocks of the documentation run the same commands in separate processes, as a shell does.
"""

import os
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import pytest
import structlog

from esblend.cli.console import err, out
from esblend.cli.main import main

WIDTH = 160
"""Of the terminal, in columns."""


def in_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The exit code and the output of a command that has no settings in its environment.

    Raises an error that the command does not catch. For the main thread only: the standard streams are replaced meanwhile.
    """
    code = 0
    logs = structlog.get_config()
    with (
        pytest.MonkeyPatch.context() as patch,
        warnings.catch_warnings(),
        redirect_stdout(StringIO()) as stdout,
        redirect_stderr(StringIO()) as stderr,
    ):
        without_settings(patch)
        patch.setattr(sys, "argv", ["esblend", *arguments])
        patch.setattr(sys, "excepthook", sys.excepthook)  # Typer sets its own
        for console in (out, err):
            patch.setattr(console, "_width", WIDTH)
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        finally:
            structlog.configure(**logs)
    return subprocess.CompletedProcess(list(arguments), code, stdout.getvalue(), stderr.getvalue())


def without_settings(patch: pytest.MonkeyPatch) -> None:
    """Remove the settings from the environment."""
    for name in [name for name in os.environ if name.startswith("ESBLEND_") and name != "ESBLEND_CACHE_DIR"]:
        patch.delenv(name)
