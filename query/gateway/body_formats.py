"""Recognises fused searches in YAML, CBOR and SMILE, which esblend does not read, so that they are refused by name.

Only keys count: in CBOR a text's head holds its length, in SMILE a short key's head does, and the head of an object follows.
Neither is possible within a text.
"""

import re
from typing import NamedTuple

from starlette.types import Scope

from esblend.errors import InvalidRequest

_KINDS = (b"rrf", b"linear", b"pinned", b"text_similarity_reranker")
_OBJECT_IN_CBOR, _OBJECT_IN_SMILE = rb"[\xa0-\xbf]", rb"\xfa"


def _cbor(key: bytes) -> bytes:
    head = bytes([0x60 + len(key)]) if len(key) < 24 else bytes([0x78, len(key)])
    return re.escape(head + key)


def _smile(key: bytes) -> bytes:
    return re.escape(bytes([0x80 + len(key) - 1]) + key)


class _Keys(NamedTuple):
    """How a format writes the keys of a fused search. The patterns are searched one after the other: linear time."""

    retriever: re.Pattern[bytes]
    kinds: re.Pattern[bytes]
    hybrid: re.Pattern[bytes]

    def name_a_fused_search(self, raw: bytes) -> bool:
        match = self.retriever.search(raw)
        return bool((match and self.kinds.search(raw, match.end() - 1)) or self.hybrid.search(raw))


def _keys(retriever: bytes, kinds: bytes, query: bytes, hybrid: bytes) -> _Keys:
    return _Keys(re.compile(retriever), re.compile(kinds), re.compile(query + hybrid))


def _any(keys: list[bytes]) -> bytes:
    return b"(?:" + b"|".join(keys) + b")"


_FORMATS = {
    b"cbor": _keys(
        _cbor(b"retriever") + _OBJECT_IN_CBOR, _any([*map(_cbor, _KINDS)]) + _OBJECT_IN_CBOR,
        _cbor(b"query") + _OBJECT_IN_CBOR, _cbor(b"hybrid") + _OBJECT_IN_CBOR,
    ),
    b"smile": _keys(
        _smile(b"retriever") + _OBJECT_IN_SMILE, _any([*map(_smile, _KINDS)]) + _OBJECT_IN_SMILE,
        _smile(b"query") + _OBJECT_IN_SMILE, _smile(b"hybrid") + _OBJECT_IN_SMILE,
    ),
    b"yaml": _keys(
        rb"(?:^|[\s{,])[\"']?retriever[\"']?\s*:", rb"[\s{,][\"']?" + _any([*_KINDS]) + rb"[\"']?\s*:",
        rb"(?:^|[\s{,])[\"']?query[\"']?\s*:\s*(?:\{\s*)?", rb"[\"']?hybrid[\"']?\s*:",
    ),
}  # fmt: skip


def refuse_other_formats(raw: bytes, scope: Scope) -> None:
    """Raises InvalidRequest for a fused search in another format than JSON."""
    kind = dict(scope["headers"]).get(b"content-type", b"").lower()
    keys = next((keys for name, keys in _FORMATS.items() if name in kind), None)
    if keys is not None and keys.name_a_fused_search(raw):
        raise InvalidRequest(
            f"the body is [{kind.decode('latin-1')}]: send a fused search as JSON, with [Content-Type: application/json]"
        )
