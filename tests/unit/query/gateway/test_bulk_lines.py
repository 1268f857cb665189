"""Only the second lines of chosen updates change; all other bytes of a `_bulk` travel as they came, however they are cut."""

import asyncio
import gzip
import itertools
import zlib
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esblend.errors import MalformedRequest
from query.gateway.bulk_lines import Action, decompressed_pieces, with_replaced_updates

BODY = (
    b'{"index": {"_id": "1"} }\n{"body":  "update"}\n\n'
    b'{"delete":{"_id":"update"}}\n'
    b'{"update":{"_id":"2"}}\r\n{"doc": {"n": 1.50}}\r\n'
    b'{"\\u0075pdate":{"_id":"3","_index":"guarded"}}\n{"doc":{"body":"x"}}\n'
    b'{"create":{"_id":"delete"}}\n{"a":1}\n'
    b'not json update\n{"b":2}\n'
    b'{"update":{"_id":"4","_index":"guarded"}}\n{"doc":{"body":"y"}}'
)
CHANGED = BODY.replace(b'{"doc":{"body":"x"}}', b"REPLACED").replace(b'{"doc":{"body":"y"}}', b'{"doc":{"body":"y"}}')


async def _replace(action: Action) -> Callable[[bytes], bytes] | None:
    return (lambda line: b"REPLACED\n") if action.metadata.get("_index") == "guarded" else None


async def _pieces(body: bytes, cuts: list[int]) -> AsyncIterator[bytes]:
    edges = [0, *sorted(cuts), len(body)]
    for start, end in itertools.pairwise(edges):
        yield body[start:end]


async def _joined(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


@given(st.lists(st.integers(0, len(BODY)), max_size=12))
def test_bytes_stay_the_same_but_for_chosen_updates(cuts: list[int]) -> None:
    assert asyncio.run(_joined(with_replaced_updates(_pieces(BODY, cuts), _replace))) == CHANGED


@pytest.mark.parametrize(
    "compress", [gzip.compress, zlib.compress, lambda body: gzip.compress(body[:9]) + gzip.compress(body[9:])]
)
def test_compressed_bodies_are_read(compress: Callable[[bytes], bytes]) -> None:
    raw = compress(BODY * 2000)
    assert asyncio.run(_joined(decompressed_pieces(_pieces(raw, [1, 100])))) == BODY * 2000


@pytest.mark.parametrize("raw", [b"plain", gzip.compress(BODY)[:-3]])
def test_broken_compression_is_named(raw: bytes) -> None:
    with pytest.raises(MalformedRequest, match="compress"):
        asyncio.run(_joined(decompressed_pieces(_pieces(raw, []))))
