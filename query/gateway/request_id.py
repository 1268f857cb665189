"""The request id in the gateway's log and in Elasticsearch's: the caller's `X-Opaque-Id`, or a new one."""

import secrets
from collections.abc import Iterable

from starlette.types import Scope
from structlog.contextvars import get_contextvars

REQUEST_ID = b"x-opaque-id"
_MAX_LENGTH = 200


def request_id(scope: Scope) -> str:
    """The id, sanitised for logs: printable characters, at most 200."""
    given = next((value for name, value in scope["headers"] if name == REQUEST_ID), b"").decode("latin-1")
    plain = "".join(character for character in given[:_MAX_LENGTH] if character.isprintable())
    return plain or secrets.token_hex(8)


def with_request_id(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Headers for requests to Elasticsearch, so that its slow log and task list show the id of the search."""
    complete = list(headers)
    present = get_contextvars().get("request_id")
    if present is not None and all(name != REQUEST_ID for name, _ in complete):
        complete.append((REQUEST_ID, str(present).encode("latin-1", "replace")))
    return complete
