"""The headers `Accept` and `Content-Type` of searches that the gateway answers."""

from typing import Any

import pytest

from esblend.errors import InvalidRequest, MediaTypeInvalid
from query.gateway.media_types import check_accept, response_type
from query.gateway.responses import error_for

V8 = "application/vnd.elasticsearch+json;compatible-with=8"
V9 = "application/vnd.elasticsearch+json;compatible-with=9"


def scope(accept: str = "", sent: str = "application/json", query: bytes = b"", **headers: str) -> dict[str, Any]:
    headers = {"accept": accept, "content-type": sent, "content-length": "20", **headers}
    pairs = [(name.encode(), value.encode()) for name, value in headers.items() if value]
    return {"type": "http", "headers": pairs, "query_string": query}


@pytest.mark.parametrize("accept", ["application/yaml", "application/cbor", "application/vnd.elasticsearch+smile"])
def test_a_format_that_is_not_written_is_refused_by_name(accept: str) -> None:
    with pytest.raises(InvalidRequest, match="application/json"):
        check_accept(scope(accept, accept))


@pytest.mark.parametrize(("accept", "sent"), [(V9, "application/json"), (V9, V8), ("*/*", V9), ("json", "")])
def test_media_types_that_elasticsearch_rejects_are_rejected(accept: str, sent: str) -> None:
    with pytest.raises(MediaTypeInvalid, match="Invalid media-type value"):
        check_accept(scope(accept, sent))


@pytest.mark.parametrize(
    ("accept", "sent", "answered"),
    [
        (V9, V9, V9),
        (V8, V8.replace("json", "x-ndjson"), V8),
        (f"{V8},text/plain", V8, V8),
        (f"{V9},text/plain", "application/json", V9),
        ("application/yaml, */*", "application/json", "application/json"),
        (V9, "", V9),
        ("", V9, "application/json"),
        ("*/*", "application/json", "application/json"),
        ("text/html, application/json", "application/json", "application/json"),
    ],
)
def test_json_is_answered_in_the_callers_version(accept: str, sent: str, answered: str) -> None:
    check_accept(scope(accept, sent))
    assert response_type(scope(accept, sent)) == answered


def test_the_content_type_of_a_request_without_body_does_not_count() -> None:
    check_accept(scope("application/json", V9, **{"content-length": "0"}))
    with pytest.raises(MediaTypeInvalid):
        check_accept(scope("application/json", V9, **{"content-length": "", "transfer-encoding": "chunked"}))


def test_an_error_has_the_form_that_the_request_asks_for() -> None:
    response = error_for(scope(V9, V9, b"pretty", **{"x-opaque-id": "mine"}), InvalidRequest("no"))
    assert (response.headers["content-type"], response.headers["x-opaque-id"]) == (V9, "mine")
    assert bytes(response.body).startswith(b'{\n  "error": {')
    assert response.headers["content-length"] == str(len(response.body))
