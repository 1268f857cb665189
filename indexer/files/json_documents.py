"""Reads documents from JSON: one object a line, an array of objects, or objects one after the other."""

import codecs
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

import orjson

from indexer.files.documents import MAX_DOCUMENT, LoadOptions, ReadResult, Unreadable, as_document
from indexer.files.streams import by_mark, lines, reason_of

_CHUNK = 2**20
_SPACE = " \t\r\n"


def read_json_lines(stream: BinaryIO, name: str, options: LoadOptions) -> Iterator[ReadResult]:
    """A broken line is named; the rest is read."""
    for number, line in enumerate(lines(stream, options.encoding), start=1):
        where = f"{name}:{number}"
        if isinstance(line, Exception):
            yield Unreadable(where, reason_of(line))
        elif line.strip():
            try:
                source = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                yield Unreadable(where, f"it is not valid JSON: {error}")
                continue
            yield _object(source, where, options)


def read_json(stream: BinaryIO, name: str, options: LoadOptions) -> Iterator[ReadResult]:
    """Documents of an array or of a sequence of objects, read in parts, so the file may be larger than memory.

    A broken document ends the file, because the beginning of the next one is unknown.
    """
    text = codecs.getreader(options.encoding or by_mark(stream))(stream)
    decoder = json.JSONDecoder()
    buffer, position, number, chunk, is_end, is_begun = "", 0, 0, _CHUNK, False, False
    in_array = False
    while True:
        while position < len(buffer) and buffer[position] in _SPACE + ("," if number else ""):
            position += 1
        if position < len(buffer) and not number and not in_array and buffer[position] == "[":
            in_array, position = True, position + 1
            continue
        if position < len(buffer) and in_array and buffer[position] == "]":
            return
        if position < len(buffer):
            try:
                source, position = decoder.raw_decode(buffer, position)
            except json.JSONDecodeError as error:
                if is_end or len(buffer) - position > MAX_DOCUMENT:
                    yield Unreadable(f"{name}, document {number + 1}", f"it is not valid JSON: {error.msg}")
                    return
            except RecursionError:
                yield Unreadable(f"{name}, document {number + 1}", "it is nested too deeply")
                return
            else:
                number, chunk = number + 1, _CHUNK
                yield _object(source, f"{name}, document {number}", options)
                continue
        if is_end:
            if in_array:
                yield Unreadable(name, "the array does not end: the file is cut off")
            return
        try:
            part = text.read(chunk)
        except UnicodeError as error:
            yield Unreadable(name, reason_of(error))
            return
        # A document longer than a chunk is tried again each time, so the chunks grow.
        rest = buffer[position:] if is_begun else ""
        part = part if is_begun else part.removeprefix("\ufeff")
        buffer, position, chunk, is_end, is_begun = rest + part, 0, 2 * chunk, not part, True


def _object(source: Any, where: str, options: LoadOptions) -> ReadResult:
    if not isinstance(source, dict):
        return Unreadable(where, "a document must be a JSON object")
    return as_document(source, where, options)
