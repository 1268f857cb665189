"""Recognises requests that a foreign web page makes a browser send. They must not act with the visitor's network access."""

import ipaddress
from collections.abc import Collection
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.types import Scope


def is_cross_site(scope: Scope, allowed_origins: Collection[str] = ()) -> bool:
    """Whether a browser says that another site's page sent the request (W3C Fetch Metadata; `Origin`, RFC 6454).

    Other clients send neither header. Following a link to the page itself is not cross-site.
    """
    headers: dict[bytes, bytes] = dict(scope["headers"])
    origin = headers.get(b"origin")
    if origin is not None and origin.decode("latin-1") in allowed_origins:
        return False
    if headers.get(b"sec-fetch-mode") == b"navigate" and scope["method"] in ("GET", "HEAD"):
        return False
    site = headers.get(b"sec-fetch-site")
    if site is not None:  # more reliable than comparing names, which a proxy may have changed
        return site in (b"cross-site", b"same-site")
    if origin is None:
        return False
    return urlsplit(origin.decode("latin-1")).netloc != headers.get(b"host", b"").decode("latin-1")


def is_unknown_host(scope: Scope, allowed_hosts: Collection[str]) -> bool:
    """Whether `Host` is a name outside of `allowed_hosts`, as in DNS rebinding: a foreign name that resolves to the gateway.

    An IP address cannot be rebound and always passes.
    """
    name = _hostname(dict(scope["headers"]).get(b"host", b"").decode("latin-1"))
    if not name or "*" in allowed_hosts or name in {allowed.lower() for allowed in allowed_hosts}:
        return False
    return not _is_address(name)


@lru_cache  # clients send the same one with each request
def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


@lru_cache
def _hostname(host: str) -> str:
    """The name in a `Host` header, without its port; the header itself when it is malformed."""
    try:
        return (urlsplit(f"//{host}").hostname or "").removesuffix(".")
    except ValueError:
        return host
