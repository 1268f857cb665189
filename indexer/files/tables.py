"""Reads documents from tables: CSV with any usual delimiter, and Parquet."""

import csv
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from esblend.errors import MissingExtra
from esblend.extras import require
from indexer.files.documents import MAX_DOCUMENT, LoadOptions, ReadResult, Unreadable, as_document, plain_fields
from indexer.files.streams import lines, reason_of

DELIMITERS = (",", ";", "\t", "|")
_SAMPLE = 50
_ROWS = 500


class _BadLine(Exception):  # noqa: N818
    """A line cannot be decoded. The reader stops, because later rows could be misaligned."""


def read_csv(stream: BinaryIO, name: str, options: LoadOptions, *, usual: str | None = None) -> Iterator[ReadResult]:
    """A document for each row below the header. Empty cells give no field. The delimiter is the named one, else the `usual` one of
    the file's kind if the header has it or has no delimiter at all, else it is found from the first lines."""
    csv.field_size_limit(MAX_DOCUMENT)
    text = _lines(stream, options.encoding)
    where = name
    try:
        first = list(islice(text, _SAMPLE))
        delimiter, header_line = sniffed(first), next(iter(first), "")
        if usual is not None and (usual in header_line or delimiter not in header_line):
            delimiter = usual  # also for a single column, whose texts may have commas
        rows = csv.reader(chain(first, text), delimiter=options.delimiter or delimiter)
        header = [column.strip() or f"column_{number}" for number, column in enumerate(next(rows, []), start=1)]
        if twice := next((column for column in header if header.count(column) > 1), None):
            yield Unreadable(name, f"the header names the column [{twice}] twice")
            return
        for row in rows:
            where = f"{name}:{rows.line_num}"
            if len(row) > len(header):
                yield Unreadable(where, f"the row has {len(row)} columns, the header has {len(header)}")
            elif any(row):
                cells = {column: cell for column, cell in zip(header, row, strict=False) if cell != ""}
                yield as_document(cells, where, options)
    except csv.Error as error:
        yield Unreadable(where, f"it is not valid CSV after this row: {error}")
    except _BadLine as error:
        yield Unreadable(f"{name}:{error.args[0]}", error.args[1])


def sniffed(sample: Iterable[str]) -> str:
    """The delimiter with which all rows have as many columns as the header, and the most columns; a comma if there is none."""
    rows = [line for line in sample if line.strip()]
    best, most = ",", 1
    for delimiter in DELIMITERS:
        try:
            counts = [len(row) for row in csv.reader(rows, delimiter=delimiter)]
        except csv.Error:
            continue
        # The sample can end within a quoted cell, so its last row is not counted.
        body = counts[1:-1] if len(counts) > 2 else counts[1:]
        agreeing = sum(count == counts[0] for count in body) if counts else 0
        if counts and counts[0] > most and agreeing >= len(body) / 2:
            best, most = delimiter, counts[0]
    return best


def _lines(stream: BinaryIO, encoding: str | None) -> Iterator[str]:
    for number, line in enumerate(lines(stream, encoding), start=1):
        if isinstance(line, Exception):
            raise _BadLine(number, reason_of(line))
        yield line


def read_parquet(file: Path, options: LoadOptions) -> Iterator[ReadResult]:
    """A document for each row. Nulls give no field; binary values that are not UTF-8 become Base64."""
    require("pyarrow", purpose="a Parquet file", error=MissingExtra)
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield as_document(plain_fields(row), f"{file}, row {number}", options)
    except pyarrow.ArrowException as error:
        yield Unreadable(f"{file}, row {number + 1}", f"it is not valid Parquet: {error}")
