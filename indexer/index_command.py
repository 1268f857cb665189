"""`esblend index`: writes documents from files into an index."""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from esblend.cli.console import err, out, print_json
from esblend.cli.gateway_client import FAILED, INTERRUPTED, DataDir, Json, end, gateway
from esblend.errors import UnusableFile
from indexer.files.documents import LoadOptions, Skipped, Unreadable

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

app = typer.Typer()
_SHOWN_ERRORS = 10
_MAX_REQUEST = 16 * 2**20
"""Bytes of one bulk request, unless one document is larger."""


@dataclass
class Loaded:
    """The progress of a run. `is_stopped`: the limit of errors ended it."""

    written: int = 0
    errors: int = 0
    shown: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    is_stopped: bool = False

    def add_error(self, text: str) -> None:
        self.errors += 1
        if len(self.shown) < _SHOWN_ERRORS:
            self.shown.append(text)


@app.command()
def index(
    name: Annotated[
        str, typer.Argument(metavar="INDEX", help="The index to write to; Elasticsearch creates it if it is missing.")
    ],
    files: Annotated[list[Path], typer.Argument(help="Files, folders of them, or - for standard input.")],
    id_field: Annotated[
        str | None, typer.Option(help="The field with the document's id, instead of _id or id.")
    ] = None,
    delimiter: Annotated[
        str | None, typer.Option(help="Delimiter of CSV files; default: detected from the first lines.")
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding of texts, such as cp1252; default: UTF-8.")] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(help="A pattern of files or folders to leave out. May be repeated.")
    ] = None,
    rename: Annotated[
        list[str] | None, typer.Option("--map", metavar="FROM=TO", help="Rename a field. May be repeated.")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="A JSON file with the index's mappings, and settings if it is created.")
    ] = None,
    max_errors: Annotated[int, typer.Option(min=1, help="Stop after this many errors.")] = 100,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Write documents from files into an index.

    JSONL, JSON, CSV, TSV and Parquet: a document for each object or row. Its id is `_id` or `id`, else made from its content.
    Text, Markdown, HTML, PDF and DOCX: a document for each file, with title, body and path. Its id is the path.

    Files may be compressed (.gz, .zst). Repeating the command changes nothing. An attached index embeds the documents.
    """
    options = _options(id_field, delimiter, encoding, ignore, rename)
    loaded = Loaded()
    try:
        with gateway(data_dir) as es:
            _load(es, name, files, options, mapping, max_errors, loaded)
    except KeyboardInterrupt:
        err.print(f"Interrupted after {loaded.written} documents. The same command continues.")
        raise typer.Exit(INTERRUPTED) from None
    _show(name, loaded, as_json=as_json)
    if loaded.errors:
        raise typer.Exit(FAILED)


def _options(
    id_field: str | None,
    delimiter: str | None,
    encoding: str | None,
    ignore: list[str] | None,
    rename: list[str] | None,
) -> LoadOptions:
    pairs = [pair.partition("=")[::2] for pair in rename or []]
    delimiter = {"tab": "\t", "\\t": "\t"}.get(str(delimiter), delimiter)
    if any(not old or not new for old, new in pairs):
        end("--map takes FROM=TO, such as: --map headline=title")
    if delimiter is not None and len(delimiter) != 1:
        end("--delimiter takes one character, or tab")
    if encoding is not None:
        try:
            "".encode(encoding)
        except LookupError:
            end(f"--encoding {encoding} is not known; examples: utf-8, cp1252, latin-1, utf-16")
    return LoadOptions(id_field, delimiter, encoding, tuple(ignore or ()), dict(pairs))


def _load(
    es: "Elasticsearch",
    name: str,
    files: list[Path],
    options: LoadOptions,
    mapping: Path | None,
    limit: int,
    loaded: Loaded,
) -> None:
    from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    from indexer.files.readers import read_documents, total_bytes

    total = total_bytes(files, options)
    if mapping is not None:
        _prepare(es, name, mapping)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(f"Indexing into {name}", total=total)
        items = read_documents(files, options, lambda count: progress.advance(task, count))
        _write(es, name, _actions(items, loaded, limit), loaded, limit)
    es.indices.refresh(index=name, ignore_unavailable=True)


def _actions(items: Iterator[Any], loaded: Loaded, limit: int) -> Iterator[dict[str, Any]]:
    for item in items:
        if loaded.errors >= limit:
            loaded.is_stopped = True
            return
        if isinstance(item, Skipped):
            loaded.skipped[item.kind] += 1
        elif isinstance(item, Unreadable):
            loaded.add_error(f"{item.where}: {item.reason}")
        else:
            yield {"_id": item.id, "_source": item.source}


def _write(es: "Elasticsearch", name: str, actions: Iterator[dict[str, Any]], loaded: Loaded, limit: int) -> None:
    from elasticsearch import ApiError
    from elasticsearch.helpers import streaming_bulk

    results = streaming_bulk(
        es, actions, index=name, chunk_size=500, max_chunk_bytes=_MAX_REQUEST, max_retries=8, initial_backoff=0.5,
        raise_on_error=False, raise_on_exception=False,
    )  # fmt: skip
    for is_written, item in results:
        if is_written:
            loaded.written += 1
            continue
        [(_, result)] = item.items()
        failure = result.get("exception")
        if isinstance(failure, ApiError) and failure.meta.status != 413:
            raise failure  # the whole request failed, and so would every further one
        error = result.get("error") or {}
        reason = error.get("reason", error) if isinstance(error, dict) else error
        too_large = "Elasticsearch rejects a request of this size (http.max_content_length)"
        loaded.add_error(f"document {result.get('_id')}: {too_large if failure is not None else reason}")
        if loaded.errors >= limit:
            loaded.is_stopped = True
            return


def _prepare(es: "Elasticsearch", name: str, file: Path) -> None:
    """Create the index with the file's mappings and settings, or add the mappings to an existing index."""
    import orjson

    try:
        body = orjson.loads(file.read_bytes())
    except OSError as error:
        raise UnusableFile(f"--mapping {file} cannot be read: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise UnusableFile(f"--mapping {file} is not valid JSON: {error}") from error
    if not isinstance(body, dict) or not {"mappings", "properties"} & set(body):
        raise UnusableFile(f"--mapping {file} must contain [mappings] or [properties]")
    mappings = body.get("mappings", {"properties": body.get("properties")})
    if es.indices.exists(index=name):
        es.indices.put_mapping(index=name, body=mappings)
    else:
        es.indices.create(index=name, mappings=mappings, settings=body.get("settings"))


def _show(name: str, loaded: Loaded, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "index": name, "indexed": loaded.written, "failed": loaded.errors, "errors": loaded.shown,
                "skipped": dict(loaded.skipped), "stopped": loaded.is_stopped,
            }
        )  # fmt: skip
        return
    out.print(f"Indexed {loaded.written} documents into {name}.")
    if loaded.skipped:
        kinds = ", ".join(f"{count} {kind}" for kind, count in loaded.skipped.most_common())
        out.print(f"Skipped: {kinds}.", soft_wrap=not sys.stdout.isatty())
    for line in loaded.shown:
        err.print(line, style="red")
    if loaded.errors:
        stopped = "; stopped at the limit, --max-errors raises it" if loaded.is_stopped else ""
        err.print(f"{loaded.errors} could not be indexed{stopped}.", style="red")
