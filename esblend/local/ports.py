"""Free ports on loopback."""

import errno
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from filelock import FileLock

_TURN = "\0esblend-ports"
_POLL_SECONDS = 0.1


@contextmanager
def turn_to_choose(fallback: Path) -> Iterator[None]:
    """Let one process at a time choose ports and start servers on them, across all users.

    On Linux the turn is a name in the abstract socket namespace: it belongs to the same network namespace as the ports do,
    needs no file that two users could not share, and is released when its holder dies. Elsewhere it is the lock file
    `fallback`.
    """
    if sys.platform != "linux":
        with FileLock(fallback):
            yield
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as turn:
        while True:
            try:
                turn.bind(_TURN)
                break
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                time.sleep(_POLL_SECONDS)
        yield


class FreePorts:
    """Chooses free ports. They stay reserved until the end of the `with` block, so that no two are equal: the system often
    reassigns a port right after its release."""

    def __init__(self) -> None:
        self._held: list[socket.socket] = []

    def __enter__(self) -> "FreePorts":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for held in self._held:
            held.close()

    def choose(self, preferred: int) -> int:
        """`preferred` if it is free, else a port that the system chooses."""
        chosen = {held.getsockname()[1] for held in self._held}
        for port in (0,) if preferred in chosen else (preferred, 0):
            held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            # A port that a server just released can be reused; a port that the system chooses must be unused.
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(port != 0))
            try:
                held.bind(("127.0.0.1", port))
            except OSError:
                held.close()
                continue
            self._held.append(held)
            return int(held.getsockname()[1])
        raise OSError("no free port on loopback")
