"""Test certificates, and a TLS proxy in front of a plain server."""

import asyncio
import contextlib
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    """PEM files: an authority, and a certificate of a server that it signed, followed by the authority's."""

    authority: Path
    chain: Path
    key: Path

    def fingerprint(self) -> str:
        """SHA-256 of the authority's certificate, in hex."""
        return _openssl("x509", "-in", str(self.authority), "-noout", "-fingerprint", "-sha256").split("=")[1].strip()


def make_certificates(folder: Path, names: str = "DNS:localhost,IP:127.0.0.1") -> Certificates:
    folder.mkdir(parents=True, exist_ok=True)
    key, authority = folder / "ca.key", folder / "ca.pem"
    new_key = ("-newkey", "rsa:2048", "-nodes")
    _openssl(
        "req", "-x509", *new_key, "-keyout", str(key), "-out", str(authority), "-days", "30", "-subj", "/CN=test authority",
        "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign",
    )  # fmt: skip
    request, own_key, own = folder / "server.csr", folder / "server.key", folder / "server.pem"
    _openssl("req", *new_key, "-keyout", str(own_key), "-out", str(request), "-subj", "/CN=localhost")
    extensions = folder / "extensions"
    extensions.write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\n")
    _openssl(
        "x509", "-req", "-in", str(request), "-CA", str(authority), "-CAkey", str(key), "-CAcreateserial", "-days", "30",
        "-extfile", str(extensions), "-out", str(own),
    )  # fmt: skip
    chain = folder / "chain.pem"
    chain.write_text(own.read_text() + authority.read_text())
    return Certificates(authority, chain, own_key)


def _openssl(*arguments: str) -> str:
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True, text=True).stdout


@contextmanager
def tls_in_front(port: int, certificates: Certificates) -> Iterator[int]:
    """A port that speaks TLS and passes on to `port` of this machine, as stunnel does."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.chain, certificates.key)
    loop = asyncio.new_event_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)

        async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    target.write(data)
                    await target.drain()
            target.close()

        await asyncio.gather(carry(reader, back), carry(there, writer))

    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0, ssl=context))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
