"""Raw bytes to a server and back, without a client that would correct them."""

import contextlib
import re
import socket
from urllib.parse import urlsplit


class Raw:
    """One connection."""

    def __init__(self, url: str, *, timeout: float = 30) -> None:
        address = urlsplit(url)
        self._socket = socket.create_connection((address.hostname or "", address.port or 80), timeout=timeout)

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(data)

    def until_closed(self) -> bytes:
        """All that comes until the server closes the connection. Raises TimeoutError when it does not."""
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while data := self._socket.recv(65536):
                received += data
        return received

    def is_silent(self, seconds: float) -> bool:
        """Whether nothing comes for so long."""
        usual = self._socket.gettimeout()
        self._socket.settimeout(seconds)
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(usual)
        return False


def statuses(received: bytes) -> list[int]:
    """The status of each answer on a connection."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]
