"""Free ports on loopback, reserved until the servers that use them have started."""

import contextlib
import errno
import socket
import sys
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout


class FreePorts:
    """Chooses different free ports. No other process that uses this class gets one of them before the `with` block ends: a server
    that is still starting does not listen on its port yet.

    On Linux a reservation is a name in the abstract socket namespace: it belongs to the same network namespace as the port does,
    needs no file that two users could not share, and is released when its holder dies. Elsewhere it is a lock file in
    `lock_folder`; without a folder, ports are reserved in this process only.
    """

    def __init__(self, lock_folder: Path | None = None) -> None:
        self._lock_folder = lock_folder
        self._chosen: set[int] = set()
        self._sockets = contextlib.ExitStack()
        self._reservations = contextlib.ExitStack()

    def __enter__(self) -> "FreePorts":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.let_servers_listen()
        self._reservations.close()

    def choose(self, preferred: int) -> int:
        """`preferred` if it is free, else a port that the system chooses. It stays bound until `let_servers_listen`, since the
        system often reassigns a port right after its release."""
        # A port that the system chooses is unused; another process may have reserved it for a server that does not listen yet.
        for port in (*(() if preferred in self._chosen else (preferred,)), *[0] * 20):
            bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            # A port that a server just released can be reused; a port that the system chooses must be unused.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(port != 0))
            self._sockets.enter_context(bound)
            with contextlib.suppress(OSError):
                bound.bind(("127.0.0.1", port))
                number = int(bound.getsockname()[1])
                if self.reserve(number):
                    self._chosen.add(number)
                    return number
        raise OSError("no free port on loopback")

    def reserve(self, port: int) -> bool:
        """Keep other processes from choosing `port`; False when one of them has reserved it."""
        if sys.platform != "linux":
            return self._lock(port)
        name = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            name.bind(f"\0esblend-port-{port}")
        except OSError as error:
            name.close()
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        self._reservations.enter_context(name)
        return True

    def _lock(self, port: int) -> bool:
        if self._lock_folder is None:
            return True
        lock = FileLock(self._lock_folder / f"port-{port}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return False
        self._reservations.callback(lock.release)
        return True

    def let_servers_listen(self) -> None:
        """Release the chosen ports to the servers, and keep them reserved."""
        self._sockets.close()
