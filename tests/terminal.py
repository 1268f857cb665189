"""Runs a command in a pseudo-terminal of a given width and gives what a person would see."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Sequence

_ERASED = re.compile(r"[^\n]*\r\x1b\[2K|[^\n]*\n[^\n]*\r\x1b\[1A\x1b\[2K")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\r")


def run_in_terminal(command: Sequence[str], columns: int, env: dict[str, str] | None = None) -> tuple[int, str]:
    """(exit code, text without control sequences and without erased lines, such as progress bars). stdout and stderr share the
    terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("ESBLEND_") and key != "COLUMNS"
    }
    environment |= {"TERM": "xterm-256color", **(env or {})}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    )
    os.close(theirs)
    seen = bytearray()
    try:
        while part := os.read(ours, 65536):
            seen += part
    except OSError:  # Linux reports the end of the other side as an error
        pass
    finally:
        os.close(ours)
    return process.wait(timeout=60), _CONTROL.sub("", _ERASED.sub("", seen.decode("utf-8", "replace")))
