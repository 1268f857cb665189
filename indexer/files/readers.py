"""Reads documents from files: JSONL, CSV, and folders of text or Markdown; one at a time, whatever their size."""

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from esblend.errors import InvalidRequest

TEXT_SUFFIXES = {".txt", ".md", ".markdown", ".rst"}
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*\s*$", re.MULTILINE)
csv.field_size_limit(2**31 - 1)
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Read:
    """A document to index; `id` is None where the file names none."""

    id: str | None
    source: dict[str, Any]


@dataclass(frozen=True)
class Unreadable:
    """A line or file that holds no document."""

    where: str
    reason: str


def total_bytes(paths: list[Path]) -> int:
    return sum(file.stat().st_size for path in paths for file in _files(path))


def read_documents(paths: list[Path], advance: Advance) -> Iterator[Read | Unreadable]:
    """Documents of all paths; `advance` is told the bytes read. Raises InvalidRequest on a path of an unknown kind."""
    for path in paths:
        for file in _files(path):
            if file.suffix in (".jsonl", ".ndjson"):
                yield from _read_jsonl(file, advance)
            elif file.suffix in (".csv", ".tsv"):
                yield from _read_csv(file, advance)
            else:
                yield _read_text(file, path)
                advance(file.stat().st_size)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        known = TEXT_SUFFIXES | {".jsonl", ".ndjson", ".csv", ".tsv"}
        files = sorted(file for file in path.rglob("*") if file.suffix in known and file.is_file())
        if not files:
            raise InvalidRequest(f"the folder {path} holds no text, Markdown, JSONL or CSV file")
        return files
    if not path.is_file():
        raise InvalidRequest(f"there is no file {path}")
    if path.suffix not in TEXT_SUFFIXES | {".jsonl", ".ndjson", ".csv", ".tsv"}:
        raise InvalidRequest(
            f"{path} is of no known kind: name .jsonl, .csv, .tsv, .txt or .md files, or folders of them"
        )
    return [path]


def _read_jsonl(file: Path, advance: Advance) -> Iterator[Read | Unreadable]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            advance(len(line))
            if not line.strip():
                continue
            try:
                source = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                yield Unreadable(f"{file}:{number}", f"no JSON: {error}")
                continue
            if not isinstance(source, dict):
                yield Unreadable(f"{file}:{number}", "a document must be a JSON object")
                continue
            yield _with_id(source)


def _read_csv(file: Path, advance: Advance) -> Iterator[Read | Unreadable]:
    separator = "\t" if file.suffix == ".tsv" else ","
    told = 0
    with file.open("rb") as raw:
        text = (line.decode("utf-8-sig" if number == 0 else "utf-8", "replace") for number, line in enumerate(raw))
        rows = csv.DictReader(text, delimiter=separator)
        while True:
            try:
                row = next(rows, None)
            except csv.Error as error:
                yield Unreadable(f"{file}:{rows.line_num}", f"no CSV: {error}")
                break
            if row is None:
                break
            position = raw.tell()
            advance(position - told)
            told = position
            if row.get(None):
                yield Unreadable(f"{file}", f"a row has more columns than the header: {str(row[None])[:80]}")
                continue
            yield _with_id({key: value for key, value in row.items() if value not in (None, "")})
    advance(file.stat().st_size - told)


def _read_text(file: Path, top: Path) -> Read | Unreadable:
    try:
        body = file.read_text("utf-8", errors="replace")
    except OSError as error:
        return Unreadable(str(file), str(error))
    relative = str(file.relative_to(top)) if top.is_dir() else file.name
    heading = _HEADING.search(body) if file.suffix in (".md", ".markdown") else None
    title = heading.group(1) if heading else file.stem.replace("_", " ").replace("-", " ")
    return Read(relative, {"title": title, "body": body, "path": relative})


def _with_id(source: dict[str, Any]) -> Read:
    """`_id` is the document's id and no field; an `id` names the document too, but stays a field."""
    id_ = source.pop("_id", None)
    if id_ is None:
        id_ = source.get("id")
    return Read(None if id_ is None or isinstance(id_, dict | list) else str(id_), source)
