"""Tells requests that a page of another site sends from a browser: whoever visits it must not search, or worse, for its sake."""

from urllib.parse import urlsplit

from starlette.types import Scope


def comes_from_another_site(scope: Scope) -> bool:
    """By what browsers tell, and only they (W3C Fetch Metadata; the Origin header of RFC 6454). Other clients send neither.

    Following a link to the page itself is no such request.
    """
    headers: dict[bytes, bytes] = dict(scope["headers"])
    if headers.get(b"sec-fetch-mode") == b"navigate" and scope["method"] in ("GET", "HEAD"):
        return False
    site = headers.get(b"sec-fetch-site")
    if site is not None:  # more to be trusted than a comparison of names, which a proxy in between may have changed
        return site in (b"cross-site", b"same-site")
    origin = headers.get(b"origin")
    if origin is None:
        return False
    return urlsplit(origin.decode("latin-1")).netloc != headers.get(b"host", b"").decode("latin-1")
