"""Reads a file as one document with title, body and path: plain text, Markdown with front matter, HTML, PDF and DOCX."""

import io
import logging
import re
import tomllib
import zipfile
from pathlib import Path, PurePath
from typing import Any

import yaml

from esblend.errors import MissingExtra
from esblend.extras import require
from indexer.files.documents import LoadOptions, ReadResult, Skipped, Unreadable, as_document, plain_fields
from indexer.files.streams import decoded, reason_of

MARKDOWN, HTML = (".md", ".markdown"), (".html", ".htm", ".xhtml")
TEXTS = (".txt", ".text", ".rst", *MARKDOWN, *HTML, ".pdf", ".docx")
MAX_UNZIPPED = 256 * 2**20
"""Limit for the total size of the parts of a DOCX file, according to its directory."""
_MAX_FRONT_MATTER = 2**16
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*\s*$", re.MULTILINE)
_FRONT_MATTER = re.compile(r"\A(---|\+\+\+)[ \t]*\r?\n(.*?)^\1[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_CHARSET = re.compile(rb"<meta[^>]+charset=[\"']?([\w-]+)", re.IGNORECASE)
_LEFT_OUT = "script, style, noscript, template, nav, header, footer, aside, svg"
_BLOCKS = "p, div, li, br, tr, td, th, section, article, h1, h2, h3, h4, h5, h6, pre, blockquote, dt, dd, figcaption"


class _NoDocument(Exception):  # noqa: N818
    """The file is of its kind, but cannot be read; the argument says why."""


def read_text(content: bytes, suffix: str, path: str, where: str, options: LoadOptions) -> ReadResult:
    """One document. `path`: below the folder that was named; it is the id. `suffix`: the kind, in lower case."""
    try:
        if suffix == ".pdf":
            source = _pdf(content)
        elif suffix == ".docx":
            source = _docx(content)
        elif suffix in HTML:
            source = _html(content, options.encoding)
        elif b"\0" in content[:8192] and not content.startswith((b"\xff\xfe", b"\xfe\xff")) and not options.encoding:
            return Skipped("binary files")
        else:
            source = _markdown(decoded(content, options.encoding), suffix)
    except (_NoDocument, UnicodeError) as error:
        return Unreadable(where, reason_of(error) if isinstance(error, UnicodeError) else str(error))
    if not str(source["body"]).strip():
        return Skipped("files without text")
    title = source.pop("title", None) or PurePath(path).stem.replace("_", " ").replace("-", " ")
    return as_document({"title": str(title).strip(), **source, "path": path}, where, options, path=path)


def _markdown(text: str, suffix: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if suffix in MARKDOWN:
        if match := _FRONT_MATTER.match(text):
            fields, text = _front_matter(match[1], match[2]), text[match.end() :]
        if not fields.get("title") and (heading := _HEADING.search(text)):
            fields["title"] = heading.group(1)
    return {**fields, "body": text}


def _front_matter(fence: str, text: str) -> dict[str, Any]:
    if len(text) > _MAX_FRONT_MATTER:
        raise _NoDocument(f"the front matter is larger than {_MAX_FRONT_MATTER // 1024} KiB")
    try:
        if fence == "---" and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise _NoDocument("the front matter has YAML aliases, which can expand without limit")
        fields = yaml.safe_load(text) if fence == "---" else tomllib.loads(text)
    except (yaml.YAMLError, tomllib.TOMLDecodeError, ValueError) as error:
        problem = getattr(error, "problem", None) or str(error)
        raise _NoDocument(f"the front matter cannot be read: {problem}") from error
    if fields is None:
        return {}
    if not isinstance(fields, dict):
        raise _NoDocument("the front matter must be a list of fields with values")
    return plain_fields(fields)


def _html(content: bytes, encoding: str | None) -> dict[str, Any]:
    require("selectolax", purpose="an HTML file", error=MissingExtra)
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(_html_text(content, encoding))
    heading = tree.css_first("title") or tree.css_first("h1")
    title = " ".join(heading.text().split()) if heading else None
    main = tree.css_first("main, [role=main]") or tree.css_first("article") or tree.body
    if main is None:
        return {"title": title, "body": ""}
    for node in main.css(_LEFT_OUT):
        node.decompose()
    for node in main.css(_BLOCKS):
        node.insert_after("\n")
    lines = (" ".join(line.split()) for line in main.text().splitlines())
    return {"title": title, "body": "\n".join(line for line in lines if line)}


def _html_text(content: bytes, encoding: str | None) -> str:
    """Decoded by the named encoding, else the byte order mark, the page's `charset`, UTF-8, or windows-1252 as browsers do."""
    declared = _CHARSET.search(content[:1024])
    for name in (encoding, None, declared and declared[1].decode("ascii"), "cp1252"):
        try:
            return decoded(content, name)
        except (UnicodeError, LookupError):
            if encoding is not None:
                raise
    return content.decode("latin-1")


def _pdf(content: bytes) -> dict[str, Any]:
    require("pypdf", purpose="a PDF file", error=MissingExtra)
    import pypdf

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it logs each deviation from the standard
    try:
        reader = pypdf.PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise _NoDocument("the PDF file is encrypted")
        title = reader.metadata.title if reader.metadata else None
        return {"title": title, "body": "\n".join(page.extract_text() for page in reader.pages)}
    except _NoDocument:
        raise
    except Exception as error:  # broken files raise nearly anything
        raise _NoDocument(f"it cannot be read as PDF: {error or type(error).__name__}") from error


def _docx(content: bytes) -> dict[str, Any]:
    require("docx", purpose="a DOCX file", error=MissingExtra)
    import docx
    from docx.table import Table

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as parts:
            if sum(part.file_size for part in parts.infolist()) > MAX_UNZIPPED:
                raise _NoDocument(f"the DOCX file expands to more than {MAX_UNZIPPED // 2**20} MiB")
        document = docx.Document(io.BytesIO(content))
        title, texts = document.core_properties.title, []
        for part in document.iter_inner_content():
            if isinstance(part, Table):
                texts += [" ".join(cell.text for cell in row.cells) for row in part.rows]
                continue
            style = part.style.name if part.style is not None else ""
            if not title and part.text.strip() and str(style).startswith(("Title", "Heading")):
                title = part.text
            texts.append(part.text)
        return {"title": title, "body": "\n".join(texts)}
    except _NoDocument:
        raise
    except Exception as error:
        raise _NoDocument(f"it cannot be read as DOCX: {error or type(error).__name__}") from error


def suffix_of(file: Path) -> str:
    """The kind by the name: `.jsonl` of `a.jsonl.gz`."""
    from indexer.files.streams import COMPRESSED

    name = file.with_suffix("") if file.suffix.lower() in COMPRESSED else file
    return name.suffix.lower()
