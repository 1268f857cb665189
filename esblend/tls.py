"""The TLS trust for connections to Elasticsearch."""

import hashlib
import socket
import ssl
import threading
from typing import Any
from urllib.parse import urlsplit

from esblend.errors import UpstreamUnavailable
from esblend.settings import Settings

_FETCH_SECONDS = 5


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """The SSL context for `es_url`; None for plain http. Certificates and host names are always checked: against
    `es_ca_certs`, the certificate with `es_ca_fingerprint`, or the system's authorities."""
    if not settings.es_url.startswith("https://"):
        return None
    if settings.es_ca_fingerprint is not None:
        return _Pinned(settings.es_url, settings.es_ca_fingerprint)
    return ssl.create_default_context(cafile=str(settings.es_ca_certs) if settings.es_ca_certs else None)


class _Pinned(ssl.SSLContext):
    """Trusts the certificate with a given SHA-256 fingerprint and certificates that it signed.

    The server sends that certificate itself. It is fetched at the first connection, so the server need not run before.
    """

    _url: str
    _fingerprint: str
    _lock: threading.Lock
    _is_loaded: bool

    def __new__(cls, url: str, fingerprint: str) -> "_Pinned":
        context = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        context._url, context._fingerprint = url, fingerprint
        context._lock, context._is_loaded = threading.Lock(), False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the pinned certificate need not be a root
        return context

    def __init__(self, *_: object) -> None:
        """`__new__` does everything, as in the base class."""

    def wrap_socket(self, *arguments: Any, **named: Any) -> ssl.SSLSocket:
        self._load()
        return super().wrap_socket(*arguments, **named)

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        self._load()
        return super().wrap_bio(*arguments, **named)

    def _load(self) -> None:
        with self._lock:
            if self._is_loaded:
                return
            for certificate in _presented(self._url):
                if hashlib.sha256(certificate).hexdigest() == self._fingerprint:
                    self.load_verify_locations(cadata=certificate)
                    self._is_loaded = True
                    return
        raise ssl.SSLCertVerificationError(
            "no certificate of the server has the fingerprint of ESBLEND_ES_CA_FINGERPRINT"
        )


def _presented(url: str) -> list[bytes]:
    """The certificates that a server presents, in DER, unverified."""
    address = urlsplit(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # this connection sends no data; only its certificates are compared
    try:
        with (
            socket.create_connection((address.hostname or "", address.port or 443), timeout=_FETCH_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=address.hostname) as secure,
        ):
            # Public from Python 3.13 on.
            holder: Any = secure if hasattr(secure, "get_unverified_chain") else secure._sslobj  # type: ignore[attr-defined]
            return [
                certificate if isinstance(certificate, bytes) else _der(certificate)
                for certificate in holder.get_unverified_chain()
            ]
    except OSError as error:
        raise UpstreamUnavailable(f"Elasticsearch presents no certificate: {type(error).__name__}") from error


def _der(certificate: Any) -> bytes:
    return ssl.PEM_cert_to_DER_cert(certificate.public_bytes())
