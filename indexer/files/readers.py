"""Finds files and reads documents from them, one at a time, whatever their size.

paths -> files (hidden, ignored, unknown ones are skipped) -> stream (decompressed, counted, limited) -> documents
"""

import codecs
import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import orjson

from esblend.errors import UnusableFile
from indexer.files.documents import FileDocument, LoadOptions, ReadResult, Skipped, Unreadable
from indexer.files.json_documents import read_json, read_json_lines
from indexer.files.streams import STDIN, Advance, by_mark, opened, read_whole, reason_of, unreadable
from indexer.files.tables import read_csv, read_parquet
from indexer.files.texts import TEXTS, read_text, suffix_of

JSON_LINES, TABLES = (".jsonl", ".ndjson"), (".csv", ".tsv")
KNOWN = (*JSON_LINES, ".json", *TABLES, ".parquet", *TEXTS)
_PEEK = 4096
_NOT_FROM_STDIN = {"PAR1": "Parquet", "%PDF": "PDF", "PK\x03\x04": "DOCX or another archive", "<": "HTML or XML"}
_LEFT_OUT = ("node_modules", "__pycache__")


def total_bytes(paths: list[Path], options: LoadOptions) -> int | None:
    """Bytes of all files; None if one is standard input. Raises UnusableFile on a path that cannot be read."""
    if STDIN in paths:
        return None
    return sum(file.stat().st_size for path in paths for file in _files(path, options) if isinstance(file, Path))


def read_documents(paths: list[Path], options: LoadOptions, advance: Advance) -> Iterator[ReadResult]:
    """Documents of all paths; `advance` gets the number of bytes read. Raises UnusableFile on a path of an unknown kind."""
    seen: dict[str, Path] = {}
    for path in paths:
        for file in _files(path, options):
            if isinstance(file, Skipped):
                yield file
                continue
            for item in _read(file, path, options, advance):
                if isinstance(item, FileDocument) and suffix_of(file) in TEXTS:
                    first = seen.setdefault(item.id, file)
                    if first != file:
                        yield Unreadable(str(file), f"it has the same id [{item.id}] as {first}")
                        continue
                yield item


def _read(file: Path, path: Path, options: LoadOptions, advance: Advance) -> Iterator[ReadResult]:
    try:
        if suffix_of(file) == ".parquet":
            yield from read_parquet(file, options)
            advance(file.stat().st_size)
            return
        with opened(file, advance) as stream:
            first = stream.peek(_PEEK)[:_PEEK]
            start = first.removeprefix(codecs.BOM_UTF8).lstrip()
            if not start and len(first) < _PEEK:
                yield Skipped("empty files")
                return
            suffix, name = suffix_of(file), str(file)
            if file == STDIN:
                suffix = _sniffed(first.decode(options.encoding or by_mark(stream), errors="replace"))
            if suffix in JSON_LINES:
                yield from read_json_lines(stream, name, options)
            elif suffix == ".json":
                yield from read_json(stream, name, options)
            elif suffix in TABLES:
                yield from read_csv(stream, name, options, usual="\t" if suffix == ".tsv" else None)
            else:
                relative = file.relative_to(path).as_posix() if path != file else file.name
                yield read_text(read_whole(stream), suffix, relative, name, options)
    except unreadable() as error:
        yield Unreadable(str(file), reason_of(error))


def _sniffed(start: str) -> str:
    """The kind of file on standard input, by its beginning. Raises UnusableFile unless it is JSON or CSV."""
    start = start.removeprefix("\ufeff").lstrip()
    for mark, kind in _NOT_FROM_STDIN.items():
        if start.startswith(mark):
            raise UnusableFile(f"standard input can be JSON or CSV, and this is {kind}; name the file")
    if start.startswith("{"):
        first, newline, _ = start.partition("\n")
        try:
            orjson.loads(first)
        except orjson.JSONDecodeError:
            return ".json" if newline else ".jsonl"
        return ".jsonl"
    return ".json" if start.startswith("[") else ".csv"


def _files(path: Path, options: LoadOptions) -> Iterator[Path | Skipped]:
    if path == STDIN or path.is_file():
        if path != STDIN and suffix_of(path) not in KNOWN:
            raise UnusableFile(f"{path} is of an unknown kind; known kinds: {', '.join(KNOWN)}, also as .gz or .zst")
        yield path
        return
    if not path.is_dir():
        raise UnusableFile(f"the file {path} does not exist")
    for folder, folders, names in os.walk(path):
        parent = Path(folder)
        subfolders = []
        for name in sorted(folders):
            if kind := _left_out(parent / name, path, options):
                yield Skipped(kind)
            else:
                subfolders.append(name)
        folders[:] = subfolders
        for name in sorted(names):
            file = parent / name
            kind = _left_out(file, path, options)
            if kind is None and suffix_of(file) not in KNOWN:
                kind = f"files of an unknown kind ({suffix_of(file) or 'without suffix'})"
            if kind is None and not file.is_file():
                kind = "links or devices that are not files"
            yield Skipped(kind) if kind else file


def _left_out(path: Path, top: Path, options: LoadOptions) -> str | None:
    """Why a file or folder is not read; None if it is."""
    relative = path.relative_to(top).as_posix()
    if any(fnmatch(relative, pattern) or fnmatch(path.name, pattern) for pattern in options.ignore):
        return "files or folders that --ignore names"
    if path.name.startswith("."):
        return "hidden files or folders"
    return f"folders named {path.name}" if path.name in _LEFT_OUT else None
