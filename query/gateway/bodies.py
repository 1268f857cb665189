"""Reads and decompresses request bodies, and recognises bodies that use esblend's extensions."""

import re
import zlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.types import Receive, Scope

from esblend import exact_json
from esblend.disconnect import CallerLeft
from esblend.errors import MalformedRequest, UnreadableField
from query.gateway.body_formats import refuse_other_formats
from query.gateway.duplicate_keys import duplicate_key
from query.gateway.media_types import header

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MAX_BODY = 64 * 2**20
"""Bytes of a decompressed body that is held in memory."""
_EXTENSION_WORDS = (
    b'"hybrid"', b'"rrf"', b'"linear"', b'"semantic"', b'"query_vector_builder"', b'"neural"', b'"pinned"', b'"diversify"',
    b'"text_similarity_reranker"', b'"knn"', b'"rescorer"', b'"rank"',
)  # fmt: skip
_FUSED_SEARCH = re.compile(
    rb'"query"\s*:\s*\{\s*"hybrid"\s*:|"retriever"\s*:\s*\{\s*"(?:rrf|linear|pinned|text_similarity_reranker)"\s*:'
)
"""The beginning of a search that only esblend executes. Other searches contain it at most within a string."""


def may_use_extensions(raw: bytes) -> bool:
    """Whether a decompressed body contains a word of esblend's extensions. Most bodies do not, and are not parsed."""
    return any(word in raw for word in _EXTENSION_WORDS)


def is_fused_search(raw: bytes) -> bool:
    """Whether a body that is not JSON has a query or a retriever that Elasticsearch does not know."""
    return _FUSED_SEARCH.search(raw) is not None


def parse_extended_body(raw: bytes, scope: Scope, *, in_strings: bool = False) -> dict[str, Any] | None:
    """The body if it may use esblend's extensions; None if Elasticsearch alone answers it. `in_strings`: strings of
    the body may contain searches, as in templates.

    Raises MalformedRequest for a fused search that is not JSON, UnreadableField for a key that comes twice.
    """
    if "json" not in (header(scope, b"content-type") or "json").lower():
        refuse_other_formats(decompressed(raw, scope), scope)
        return None
    raw = decompressed(raw, scope)
    if not may_use_extensions(raw.replace(b'\\"', b'"') if in_strings else raw):
        return None
    raw = raw.removeprefix(_BYTE_ORDER_MARK)  # Elasticsearch skips it
    try:
        body = exact_json.loads(raw)
    except ValueError as error:
        if is_fused_search(raw):  # Elasticsearch would say that it does not know the query
            raise MalformedRequest(f"the body is not JSON: {error}") from error
        return None  # Elasticsearch reports the error; it accepts comments
    twice = duplicate_key(raw, body)
    if twice is not None:
        raise UnreadableField(f"Duplicate field '{twice}'")
    return body if isinstance(body, dict) else None


def with_source(scope: Scope, raw: bytes) -> tuple[Scope, bytes]:
    """A search without a body whose URL has `source`: the same search with a body. Elasticsearch prefers a body."""
    given = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    sources = [value for key, value in given if key == "source"]
    kind = next((value for key, value in given if key == "source_content_type"), None)
    if not sources or kind is None:  # Elasticsearch says what is missing
        return scope, raw
    rest = [(key, value) for key, value in given if key not in ("source", "source_content_type")]
    entity = (b"content-length", b"content-type", b"content-encoding", b"transfer-encoding")
    headers = [pair for pair in scope["headers"] if pair[0] not in entity]
    headers.append((b"content-type", kind.encode("latin-1", "replace")))
    scope = {**scope, "query_string": urlencode(rest).encode(), "headers": headers}
    return scope, sources[-1].encode()


def decompressed(raw: bytes, scope: Scope) -> bytes:
    """The body without gzip. Raises MalformedRequest when it is not gzip as its headers say, or longer than `MAX_BODY`."""
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
    """The chunks that were read already, then the remaining ones as they arrive."""
    for chunk in first:
        yield chunk
    while not ended:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallerLeft("the caller closed the connection")
        if message.get("body"):
            yield message["body"]
        ended = not message.get("more_body", False)


async def read_up_to(limit: int, receive: Receive) -> tuple[list[bytes], bool]:
    """The body's chunks up to `limit` bytes and one chunk more, and whether that is the whole body."""
    chunks: list[bytes] = []
    size = 0
    while size <= limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallerLeft("the caller closed the connection")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if not message.get("more_body", False):
            return chunks, True
    return chunks, False
