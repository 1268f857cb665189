"""`--help` answers at once: it imports no client, no settings, no server."""

import subprocess
import sys

import pytest

from esblend.cli.main import _PLACES, app
from tests.conftest import ROOT, run_esblend

HEAVY = (
    "elasticsearch", "pydantic_settings", "celery", "starlette", "numpy", "aiohttp", "redis", "structlog", "torch",
    "typer.rich_utils", "rich.markdown", "pygments",
)  # fmt: skip


@pytest.mark.parametrize("command", [[], *([name] for name in _PLACES), ["config", "show"], ["dead-letters", "list"]])
def test_help_imports_nothing_heavy(command: list[str]) -> None:
    code = (
        "import sys; from esblend.__main__ import main\n"
        "try: main()\n"
        f"finally: print('HEAVY', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command, "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Usage: " in done.stdout
    assert done.stdout.endswith("HEAVY []\n")


def test_every_command_is_in_a_panel() -> None:
    """The table of commands and the modules agree."""
    from importlib import import_module

    for module in set(_PLACES.values()) - {"query.gateway.command"}:
        made = import_module(module).app
        names = {command.name or command.callback.__name__ for command in made.registered_commands}
        known = {name for name, path in _PLACES.items() if path == module}
        assert known == ({made.info.name} if isinstance(made.info.name, str) else names), module
    assert app.info.help


def test_a_mistyped_command_gets_a_suggestion_and_is_a_wrong_usage() -> None:
    done = run_esblend("serch")
    assert done.returncode == 2
    assert "Did you mean 'search'" in done.stderr
