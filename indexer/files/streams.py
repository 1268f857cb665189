"""Opens files for reading: standard input, gzip and Zstandard; counts the bytes read, and limits what one file can expand to."""

import codecs
import gzip
import io
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from esblend.errors import MissingExtra
from esblend.extras import require
from indexer.files.documents import MAX_DOCUMENT

STDIN = Path("-")
COMPRESSED = (".gz", ".zst")
MAX_EXPANSION = 1000
"""A compressed file may expand to this many times its size. Texts compress to a tenth; only crafted files exceed this."""
_FREE = 64 * 2**20
_BLOCK = 2**20
Advance = Callable[[int], None]


class TooLarge(Exception):  # noqa: N818 -- named for what went wrong
    """A file expands beyond its limit, or holds a document beyond it."""


class _Counted(io.RawIOBase):
    """Counts the bytes read from the wrapped file."""

    def __init__(self, raw: IO[bytes], advance: Advance) -> None:
        self.raw, self.advance, self.count = raw, advance, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        part = self.raw.read(len(cast(memoryview, buffer)))
        cast(memoryview, buffer)[: len(part)] = part
        self.count += len(part)
        self.advance(len(part))
        return len(part)


class _Expanded(io.RawIOBase):
    """A decompressed stream that raises TooLarge when it expands too much. `least`: the size that the file declares."""

    def __init__(self, stream: IO[bytes], counted: _Counted, least: int = 0) -> None:
        self.stream, self.counted, self.least, self.count = stream, counted, least, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        part = self.stream.read(len(cast(memoryview, buffer)))
        cast(memoryview, buffer)[: len(part)] = part
        self.count += len(part)
        if self.count > _FREE + MAX_EXPANSION * self.counted.count:
            raise TooLarge(f"it expands to more than {MAX_EXPANSION} times its size")
        if not part and self.count < self.least:  # the library does not report a Zstandard file that is cut off
            raise EOFError("the file is cut off")
        return len(part)


@contextmanager
def opened(file: Path, advance: Advance) -> Iterator["io.BufferedReader[Any]"]:
    """The file's bytes, decompressed if its name or its first bytes say so. `advance` gets the number of bytes read,
    including bytes that are skipped. Raises OSError."""
    raw: IO[bytes] = sys.stdin.buffer if file == STDIN else file.open("rb")
    try:
        counted = _Counted(raw, advance)
        buffered: io.BufferedReader[Any] = io.BufferedReader(counted, _BLOCK)
        start = buffered.peek(4)[:4]
        if start[:2] == b"\x1f\x8b":
            unzipped = gzip.GzipFile(fileobj=buffered)
            yield io.BufferedReader(_Expanded(cast(IO[bytes], unzipped), counted), _BLOCK)
        elif start == b"\x28\xb5\x2f\xfd":
            stream, size = _zstandard(buffered)
            yield io.BufferedReader(_Expanded(stream, counted, size), _BLOCK)
        else:
            yield buffered
        if file != STDIN:
            advance(max(0, file.stat().st_size - counted.count))
    finally:
        if file != STDIN:
            raw.close()


def _zstandard(stream: "io.BufferedReader[Any]") -> tuple[IO[bytes], int]:
    """The decompressed stream and the size of its first frame, 0 if unknown."""
    require("zstandard", purpose="a Zstandard file", error=MissingExtra)
    import zstandard

    size = zstandard.get_frame_parameters(stream.peek(18)[:18]).content_size
    reader = zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True)
    return cast(IO[bytes], reader), 0 if size == zstandard.CONTENTSIZE_UNKNOWN else size


def unreadable() -> tuple[type[Exception], ...]:
    """The errors of a file that cannot be read, is too large, or is not what its compression says."""
    known: tuple[type[Exception], ...] = (OSError, TooLarge, gzip.BadGzipFile, zlib.error, EOFError)
    try:
        import zstandard
    except ImportError:
        return known
    return (*known, zstandard.ZstdError)


def read_whole(stream: BinaryIO) -> bytes:
    """All bytes of a file that is one document. Raises TooLarge beyond MAX_DOCUMENT."""
    content = stream.read(MAX_DOCUMENT + 1)
    if len(content) > MAX_DOCUMENT:
        raise TooLarge(f"it is larger than {MAX_DOCUMENT // 2**20} MiB")
    return content


def lines(stream: BinaryIO, encoding: str | None) -> Iterator[str | Exception]:
    """The lines of a text without byte order mark; the error instead of a line that cannot be decoded or is too long."""
    encoding = encoding or by_mark(stream)
    if "\n".encode(encoding) not in (b"\n", b"\xef\xbb\xbf\n"):  # UTF-16 and UTF-32: a byte 10 need not be a line's end
        yield from _decoded(stream, encoding)
        return
    is_first = True
    while line := stream.readline(MAX_DOCUMENT + 1):
        if len(line) > MAX_DOCUMENT:
            while line and not line.endswith(b"\n"):
                line = stream.readline(_BLOCK)
            yield TooLarge(f"the line is longer than {MAX_DOCUMENT // 2**20} MiB")
        else:
            try:
                yield (line.removeprefix(codecs.BOM_UTF8) if is_first else line).decode(encoding)
            except UnicodeError as error:
                yield error
        is_first = False


def decoded(content: bytes, encoding: str | None) -> str:
    """A whole text, without byte order mark. Raises UnicodeError."""
    return content.decode(encoding or by_mark(io.BytesIO(content))).removeprefix("\ufeff")


def reason_of(error: Exception) -> str:
    """The message for the user."""
    if isinstance(error, UnicodeError):
        name = getattr(error, "encoding", "UTF-8")
        return f"it is not valid {name}; name its encoding, such as: --encoding cp1252"
    if isinstance(error, TooLarge):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"it cannot be read: {error.strerror}"
    return f"it cannot be decompressed: {error}"


def _decoded(stream: BinaryIO, encoding: str) -> Iterator[str | Exception]:
    text = io.TextIOWrapper(stream, encoding, newline="")
    try:
        while line := text.readline(MAX_DOCUMENT):
            yield line.removeprefix("\ufeff")
    except UnicodeError as error:
        yield error
    finally:
        text.detach()


def by_mark(stream: IO[bytes]) -> str:
    """The encoding that the byte order mark says, else UTF-8. Reads nothing from a stream that can peek."""
    peek = getattr(stream, "peek", None)
    start = peek(4)[:4] if peek else stream.read(4)
    for mark, encoding in (
        (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
    ):  # fmt: skip
        if start.startswith(mark):
            return encoding
    return "utf-8"
