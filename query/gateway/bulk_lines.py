"""The NDJSON lines of a `_bulk`, read and partly replaced in constant memory. All other bytes travel as they came."""

import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from esblend import exact_json
from esblend.errors import MalformedRequest

_STEP = 1 << 20
"""Bytes of a compressed body that are decompressed at a time."""


@dataclass(frozen=True)
class Action:
    """The first line of an operation, as far as it matters here."""

    name: str
    metadata: dict[str, Any]


Replace = Callable[[Action], Awaitable[Callable[[bytes], bytes] | None]]
"""Takes an update's action line and returns the replacement of its second line; None keeps the line."""


async def with_replaced_updates(pieces: AsyncIterator[bytes], replace: Replace) -> AsyncIterator[bytes]:
    """The body with the second lines of updates as `replace` decides. Only one such line is held at a time."""
    held = bytearray()
    replacement: Callable[[bytes], bytes] | None = None
    is_first_line, is_replaced = True, False
    async for piece in pieces:
        ready: list[bytes] = []
        start = 0
        while start < len(piece):
            end = piece.find(b"\n", start) + 1 or len(piece)
            part, start = piece[start:end], end
            is_complete = part.endswith(b"\n")
            if not is_first_line and not is_replaced:
                ready.append(part)
                is_first_line = is_complete
                continue
            held += part
            if not is_complete:
                break
            line = bytes(held)
            held.clear()
            if not is_first_line:
                assert replacement is not None
                ready.append(replacement(line))
                is_first_line = True
                continue
            ready.append(line)
            action = _action(line)
            is_first_line = action is None or action.name == "delete"
            replacement = await replace(action) if action is not None and action.name == "update" else None
            is_replaced = replacement is not None
        if ready:
            yield b"".join(ready)
    if held:
        yield bytes(held)


def _action(line: bytes) -> Action | None:
    """None for an empty line. Most lines index documents and are not parsed."""
    if not line.strip():
        return None
    if not (b"update" in line or b"delete" in line or b"\\" in line):
        return Action("index", {})
    try:
        content = exact_json.loads(line)
    except ValueError:
        return Action("index", {})  # Elasticsearch reports the error
    if not isinstance(content, dict) or len(content) != 1:
        return Action("index", {})
    [(name, metadata)] = content.items()
    return Action(name, metadata if isinstance(metadata, dict) else {})


async def decompressed_pieces(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The content of a body compressed with gzip or zlib. Raises MalformedRequest when it is neither."""
    decompressor = zlib.decompressobj(32 + zlib.MAX_WBITS)
    try:
        async for piece in pieces:
            rest = piece
            while rest:
                if decompressor.eof:  # gzip allows several members
                    decompressor = zlib.decompressobj(32 + zlib.MAX_WBITS)
                content = decompressor.decompress(rest, _STEP)
                if content:
                    yield content
                rest = decompressor.unconsumed_tail or decompressor.unused_data
        if tail := decompressor.flush():
            yield tail
    except zlib.error as error:
        raise MalformedRequest("the body is not compressed as its Content-Encoding says") from error
    if not decompressor.eof:
        raise MalformedRequest("the compressed body is incomplete")
