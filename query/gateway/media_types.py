"""The media types of responses that the gateway writes: JSON, in the version that the caller's client names."""

import re

from starlette.types import Scope

from esblend.errors import InvalidRequest, MediaTypeInvalid

_JSON = "application/json"
_VENDOR_JSON = "application/vnd.elasticsearch+json"
_OTHER_FORMATS = re.compile(r"yaml|cbor|smile", re.IGNORECASE)
_VERSION = re.compile(r"compatible-with=(\d+)", re.IGNORECASE)


def header(scope: Scope, name: bytes) -> str:
    """The value of a request's header; empty where it is missing."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def response_type(scope: Scope) -> str:
    """The media type of a JSON response."""
    accept = header(scope, b"accept")
    first = accept.partition(",")[0].strip()
    return first if first.startswith(_VENDOR_JSON) else _JSON


def _has_body(scope: Scope) -> bool:
    return bool(header(scope, b"transfer-encoding")) or header(scope, b"content-length") not in ("", "0")


def check_accept(scope: Scope) -> None:
    """Raises InvalidRequest when the caller wants a format that the gateway does not write, MediaTypeInvalid where `Accept` is no
    media type or names another version than the body's `Content-Type`. Elasticsearch rejects both."""
    accept, sent = header(scope, b"accept"), header(scope, b"content-type") if _has_body(scope) else ""
    if "," in accept:  # Elasticsearch ignores a list
        return
    if _OTHER_FORMATS.search(accept) and "json" not in accept.lower():
        raise InvalidRequest(f"[Accept: {accept}]: a fused search is answered as JSON, with [Accept: application/json]")
    if accept and "/" not in accept:
        raise MediaTypeInvalid("Invalid media-type value on headers [Accept]")
    if sent and accept and _VERSION.findall(accept) != _VERSION.findall(sent):
        raise MediaTypeInvalid(
            "Invalid media-type value on headers [Accept, Content-Type]: both name the same version, or none"
        )
