"""What a page of another site sends is told from what the gateway's own page and other clients send."""

import pytest

from query.gateway.cross_site import comes_from_another_site


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
    assert comes_from_another_site({"type": "http", "method": method, "headers": raw}) is is_foreign
