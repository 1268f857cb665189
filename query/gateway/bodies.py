"""Bodies of requests: whether they ask for something of esblend's, and what is in them."""

import zlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.types import Receive, Scope

from esblend import surrogate_json
from esblend.errors import MalformedRequest

MAX_BODY = 64 * 2**20
"""Bytes of a body that is held in memory, decompressed."""
# A body without any of these words asks for nothing that Elasticsearch does not do itself.
_OUR_WORDS = (
    b'"hybrid"', b'"rrf"', b'"linear"', b'"semantic"', b'"query_vector_builder"', b'"neural"', b'"pinned"', b'"diversify"',
    b'"text_similarity_reranker"',
)  # fmt: skip


def may_be_ours(raw: bytes) -> bool:
    """Whether a body, decompressed, holds a word of esblend's; most do not, and need no parsing."""
    return any(word in raw for word in _OUR_WORDS)


def parse_if_ours(raw: bytes, scope: Scope) -> dict[str, Any] | None:
    """The body when it may ask for something of esblend's; None when it is surely Elasticsearch's own affair."""
    headers = dict(scope["headers"])
    if b"json" not in headers.get(b"content-type", b"application/json"):
        return None
    raw = decompressed(raw, scope)
    if not may_be_ours(raw):
        return None
    try:
        body = surrogate_json.loads(raw)
    except ValueError:
        return None  # Elasticsearch says best what is wrong with it
    return body if isinstance(body, dict) else None


def decompressed(raw: bytes, scope: Scope) -> bytes:
    """Raises MalformedRequest when it is no gzip though its headers say so, or longer than `MAX_BODY`."""
    return _decompress(raw) if dict(scope["headers"]).get(b"content-encoding") == b"gzip" else raw


def _decompress(raw: bytes) -> bytes:
    decompressor = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        content = decompressor.decompress(raw, MAX_BODY)
    except zlib.error as error:
        raise MalformedRequest("the body is not gzip, as its Content-Encoding says") from error
    if decompressor.unconsumed_tail:
        raise MalformedRequest(f"the body is larger than {MAX_BODY} bytes")
    return content


async def body_stream(first: list[bytes], receive: Receive, *, ended: bool) -> AsyncIterator[bytes]:
    """What of a request body was read already, then the rest as it comes."""
    for chunk in first:
        yield chunk
    while not ended:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("the caller went away")
        if message.get("body"):
            yield message["body"]
        ended = not message.get("more_body", False)
