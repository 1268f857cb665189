"""Free ports on loopback."""

import socket
from types import TracebackType


class FreePorts:
    """Chooses ports that nobody listens on. They stay reserved until the end of the `with`, so that no two are the same:
    the system often gives a port that was just given back to the next who asks."""

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
        """`preferred` when it is free, else one that the system chooses."""
        chosen = {held.getsockname()[1] for held in self._held}
        for port in (0,) if preferred in chosen else (preferred, 0):
            held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            # A port that a server has just left may be had again; but what the system chooses must be nobody's.
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(port != 0))
            try:
                held.bind(("127.0.0.1", port))
            except OSError:
                held.close()
                continue
            self._held.append(held)
            return int(held.getsockname()[1])
        raise OSError("no free port on loopback")
