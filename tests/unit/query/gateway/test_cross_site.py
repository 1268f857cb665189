"""Requests from foreign web pages are recognised."""

import pytest

from query.gateway.cross_site import is_cross_site, is_unknown_host


@pytest.mark.parametrize(
    ("method", "headers", "is_foreign"),
    [
        ("POST", {}, False),
        ("POST", {"sec-fetch-site": "same-origin", "origin": "http://gateway:9280"}, False),
        ("POST", {"origin": "http://gateway:9280"}, False),
        ("POST", {"sec-fetch-site": "same-origin", "origin": "https://name.of.a.proxy"}, False),
        ("POST", {"origin": "http://evil.example"}, True),
        ("POST", {"origin": "null"}, True),
        ("GET", {"sec-fetch-site": "cross-site"}, True),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, False),
        ("POST", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, True),
        ("GET", {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}, False),
    ],
)
def test_by_what_browsers_tell(method: str, headers: dict[str, str], is_foreign: bool) -> None:
    raw = [(b"host", b"gateway:9280"), *((name.encode(), value.encode()) for name, value in headers.items())]
    assert is_cross_site({"type": "http", "method": method, "headers": raw}) is is_foreign


def test_an_allowed_origin_is_not_foreign() -> None:
    headers = [(b"origin", b"https://app.example"), (b"sec-fetch-site", b"cross-site")]
    scope = {"type": "http", "method": "POST", "headers": headers}
    assert is_cross_site(scope)
    assert not is_cross_site(scope, ["https://app.example"])


@pytest.mark.parametrize(
    ("host", "is_unknown"),
    [
        ("localhost:9280", False), ("LOCALHOST", False), ("localhost.", False), ("127.0.0.1:9280", False), ("[::1]:9280", False),
        ("10.1.2.3", False), ("search.example:80", False), ("", False), ("evil.example:9280", True),
        ("localhost.evil.example", True),
        ("127.0.0.1.evil.example", True), ("[::1", True),
    ],
)  # fmt: skip
def test_a_foreign_name_that_resolves_here_is_recognised(host: str, is_unknown: bool) -> None:
    scope = {"type": "http", "headers": [(b"host", host.encode())]}
    assert is_unknown_host(scope, ["localhost", "search.example"]) is is_unknown
    assert not is_unknown_host(scope, ["*"])
