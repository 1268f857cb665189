"""One name for a request in the gateway's log and in Elasticsearch's: the caller's `X-Opaque-Id`, or a new one."""

import secrets
from collections.abc import Iterable

from starlette.types import Scope
from structlog.contextvars import get_contextvars

REQUEST_ID = b"x-opaque-id"
_LONGEST = 200


def request_id(scope: Scope) -> str:
    """As it is fit for a log: printable and not endless."""
    given = next((value for name, value in scope["headers"] if name == REQUEST_ID), b"").decode("latin-1")
    plain = "".join(character for character in given[:_LONGEST] if character.isprintable())
    return plain or secrets.token_hex(8)


def with_request_id(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Headers for the gateway's own requests: Elasticsearch's slow log and list of tasks show the id of the search they are for."""
    found = list(headers)
    present = get_contextvars().get("request_id")
    if present is not None and all(name != REQUEST_ID for name, _ in found):
        found.append((REQUEST_ID, str(present).encode("latin-1", "replace")))
    return found
