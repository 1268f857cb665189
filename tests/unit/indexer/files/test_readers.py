"""Documents from files: what people have, and what goes wrong with it."""

import datetime
import gzip
import io
import sys
import zipfile
from pathlib import Path

import docx
import pyarrow
import pytest
import zstandard
from pyarrow import parquet

from esblend.errors import InvalidRequest
from indexer.files import documents, streams, texts
from indexer.files.documents import FileDocument, LoadOptions, ReadResult, Skipped, Unreadable
from indexer.files.readers import read_documents, total_bytes
from indexer.files.tables import sniffed


def load(*paths: Path, **options: object) -> list[ReadResult]:
    told: list[int] = []
    chosen = LoadOptions(**options)  # type: ignore[arg-type]
    results = list(read_documents(list(paths), chosen, told.append))
    total = total_bytes(list(paths), chosen)
    assert total is None or sum(told) == total
    return results


def write(folder: Path, name: str, content: str | bytes) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def sources(results: list[ReadResult]) -> list[dict[str, object]]:
    assert all(isinstance(document, FileDocument) for document in results), results
    return [document.source for document in results if isinstance(document, FileDocument)]


def pipe(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Standard input that holds `content`."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content))))  # type: ignore[arg-type]


def only(results: list[ReadResult]) -> ReadResult:
    [document] = results
    return document


def reason(document: ReadResult) -> str:
    assert isinstance(document, Unreadable), document
    return f"{document.where}: {document.reason}"


def test_jsonl_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = write(tmp_path, "a.jsonl", '\ufeff{"_id": "1", "t": "x"}\n\n{"id": 7, "t": "y"}\n')
    assert load(file) == [FileDocument("1", {"t": "x"}), FileDocument("7", {"id": 7, "t": "y"})]


def test_an_id_made_from_the_content_is_the_same_the_next_time(tmp_path: Path) -> None:
    file = write(tmp_path, "a.jsonl", '{"t": "z", "u": 1}\n{"u": 1, "t": "z"}\n{"t": "other"}\n')
    first, same, other = load(file)
    assert isinstance(first, FileDocument)
    assert len(first.id) == 32
    assert first == same != other
    assert load(file)[0] == first


def test_broken_lines_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    file = write(tmp_path, "a.jsonl", b'{"t": 1}\n{broken\n[1]\n{"t": "\xff"}\n{"t": 2}\n')
    first, broken, no_object, no_text, last = load(file)
    assert sources([first, last]) == [{"t": 1}, {"t": 2}]
    assert reason(broken).startswith(f"{file}:2: it is not valid JSON")
    assert "object" in reason(no_object)
    assert "--encoding" in reason(no_text)


def test_a_line_beyond_the_limit_is_named_and_the_next_one_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MAX_DOCUMENT", 2**20)
    file = write(tmp_path, "a.jsonl", '{"t": "' + "x" * 2**21 + '"}\n{"t": 2}\n')
    long, last = load(file)
    assert reason(long) == f"{file}:1: the line is longer than 1 MiB"
    assert sources([last]) == [{"t": 2}]


@pytest.mark.parametrize(
    "text", ['[{"a": 1}, {"a": "]"}]', '{"a": 1}\n{"a": "]"}', ' [\n {"a": 1},\n{"a":\n"]"}]\n', '\ufeff[{"a": 1},{"a": "]"}]']
)  # fmt: skip
def test_json_arrays_and_sequences(tmp_path: Path, text: str) -> None:
    assert sources(load(write(tmp_path, "a.json", text))) == [{"a": 1}, {"a": "]"}]


@pytest.mark.parametrize(("encoding", "named"), [("utf-16", None), ("utf-8-sig", "utf-8"), ("utf-16", "utf-16")])
def test_json_with_a_byte_order_mark(tmp_path: Path, encoding: str, named: str | None) -> None:
    file = write(tmp_path, "a.json", '[{"a": "é"}]'.encode(encoding))
    assert sources(load(file, encoding=named)) == [{"a": "é"}]


def test_a_json_array_larger_than_a_chunk(tmp_path: Path) -> None:
    texts = ["x" * size for size in (900_000, 1_500_000, 10)]
    file = write(tmp_path, "a.json", "[" + ",".join(f'{{"a": "{text}"}}' for text in texts) + "]")
    assert sources(load(file)) == [{"a": text} for text in texts]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[{"a": 1}, {broken}, {"a": 2}]', "document 2: it is not valid JSON"),
        ('[{"a": 1}, 7]', "document 2: a document must be a JSON object"),
        ('[{"a": 1}', "does not end"),
        ("[" * 100_000, "document 1"),
    ],
)
def test_a_broken_array_is_named(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in reason(load(write(tmp_path, "a.json", text))[-1])


def test_csv_with_quotes_and_line_breaks(tmp_path: Path) -> None:
    file = write(tmp_path, "a.csv", '\ufeffid,title,body\n1,"A, b","two\nlines"\n2,,only body\n')
    assert load(file) == [
        FileDocument("1", {"id": "1", "title": "A, b", "body": "two\nlines"}),
        FileDocument("2", {"id": "2", "body": "only body"}),
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    rows = [["id", "title", "price"], ["1", "one, two; three", "1.5"], ["2", "four", "2"]]
    text = "\n".join(delimiter.join(f'"{cell}"' if "," in cell else cell for cell in row) for row in rows)
    assert load(write(tmp_path, "a.csv", text))[0] == FileDocument("1", dict(zip(rows[0], rows[1], strict=True)))


def test_a_tsv_file_with_another_delimiter_is_no_garbage(tmp_path: Path) -> None:
    """Each row became one field whose name was the whole header."""
    assert sources(load(write(tmp_path, "a.tsv", "a;b\n1,5;2\n3;4\n"))) == [
        {"a": "1,5", "b": "2"},
        {"a": "3", "b": "4"},
    ]
    assert sources(load(write(tmp_path, "b.tsv", "a\tb\n1,2;3,4\t5\n1,2;3,4\t6\n"))) == [
        {"a": "1,2;3,4", "b": "5"}, {"a": "1,2;3,4", "b": "6"},
    ]  # fmt: skip


def test_a_tsv_file_of_one_column_may_have_commas(tmp_path: Path) -> None:
    """Each row with a comma was rejected as a row of two columns."""
    text = "title\nWhales, dolphins\nBread; butter | salt\n"
    expected = [{"title": "Whales, dolphins"}, {"title": "Bread; butter | salt"}]
    assert sources(load(write(tmp_path, "a.tsv", text))) == expected


def test_a_table_of_one_column_has_one_column() -> None:
    assert sniffed(["title\n", "a; b\n", "c | d\n"]) == ","


def test_rows_and_headers_that_do_not_agree_are_named(tmp_path: Path) -> None:
    wide, good = load(write(tmp_path, "a.csv", "a,b\n1,2,3\n4,5\n"))
    assert reason(wide) == f"{tmp_path}/a.csv:2: the row has 3 columns, the header has 2"
    assert sources([good]) == [{"a": "4", "b": "5"}]
    assert "twice" in reason(only(load(write(tmp_path, "b.csv", "a,b,a\n1,2,3\n"))))
    assert sources(load(write(tmp_path, "c.csv", ",a\n0,x\n"))) == [{"column_1": "0", "a": "x"}]


def test_encodings(tmp_path: Path) -> None:
    assert sources(load(write(tmp_path, "a.csv", "a,b\né,ü\n".encode("utf-16")))) == [{"a": "é", "b": "ü"}]
    latin = write(tmp_path, "b.csv", "a,b\né,ü\n".encode("cp1252"))
    assert reason(only(load(latin))).startswith(f"{latin}:2: it is not valid utf-8")
    assert sources(load(latin, encoding="cp1252")) == [{"a": "é", "b": "ü"}]


def test_fields_are_renamed_and_the_id_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, "a.jsonl", '{"sku": 5, "headline": "x"}\n{"headline": "y"}\n')
    good, without = load(file, id_field="sku", renamed={"headline": "title"})
    assert good == FileDocument("5", {"sku": 5, "title": "x"})
    assert "no [sku]" in reason(without)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_compressed_files(tmp_path: Path, pack: object) -> None:
    suffix = "gz" if pack is gzip.compress else "zst"
    file = write(tmp_path, f"a.jsonl.{suffix}", pack(b'{"a": 1}\n' * 3))  # type: ignore[operator]
    assert sources(load(file)) == [{"a": 1}] * 3
    half = write(tmp_path, f"b.csv.{suffix}", file.read_bytes()[:-6])
    assert isinstance(load(half)[-1], Unreadable)


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_file_that_expands_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(streams, "_FREE", 2**20)
    monkeypatch.setattr(streams, "MAX_EXPANSION", 10)
    bomb = b"\n" * 2**25
    packed = gzip.compress(bomb) if suffix == "gz" else zstandard.ZstdCompressor().compress(bomb)
    assert "expands to more than 10 times" in reason(only(load(write(tmp_path, f"a.jsonl.{suffix}", packed))))


def test_parquet(tmp_path: Path) -> None:
    table = pyarrow.table(
        {"id": [1, 2], "t": ["a", None], "n": [float("nan"), 2.5], "d": [datetime.date(2024, 1, 2)] * 2, "b": [b"x", b"\xff"]}
    )  # fmt: skip
    parquet.write_table(table, tmp_path / "a.parquet")
    first, second = load(tmp_path / "a.parquet")
    day = datetime.date(2024, 1, 2)
    assert first == FileDocument("1", {"id": 1, "t": "a", "d": day, "b": "x"})
    assert second == FileDocument("2", {"id": 2, "n": 2.5, "d": day, "b": "/w=="})
    times = pyarrow.table({"t": [datetime.time(7, 30)], "d": [datetime.timedelta(hours=1)]})
    parquet.write_table(times, tmp_path / "c.parquet")
    assert sources(load(tmp_path / "c.parquet")) == [{"t": "07:30:00", "d": "1:00:00"}]
    assert "not valid Parquet" in reason(only(load(write(tmp_path, "b.parquet", b"nonsense"))))


def test_standard_input_tells_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ('{"a": "1"}\n{"a": "2"}\n', '[{"a": "1"}, {"a": "2"}]', "a;b\n1;\n2;\n", '{\n"a": "1"}{"a": "2"}'):
        for encoding in ("utf-8", "utf-8-sig", "utf-16"):
            pipe(monkeypatch, text.encode(encoding))
            assert sources(load(Path("-"))) == [{"a": "1"}, {"a": "2"}], (text, encoding)
        pipe(monkeypatch, gzip.compress(text.encode()))
        assert sources(load(Path("-"))) == [{"a": "1"}, {"a": "2"}], text


@pytest.mark.parametrize("start", [b"PAR1\x15\x04", b"%PDF-1.7\n", b"PK\x03\x04\x14", b"<!doctype html>\n<p>x</p>"])
def test_standard_input_that_is_no_table_is_refused(monkeypatch: pytest.MonkeyPatch, start: bytes) -> None:
    """It was read as CSV with one column."""
    pipe(monkeypatch, start)
    with pytest.raises(InvalidRequest, match="name the file"):
        load(Path("-"))


def test_a_folder_of_text_and_markdown(tmp_path: Path) -> None:
    write(tmp_path, "deep/guide.md", "intro\n\n# The Guide #\ntext")
    write(tmp_path, "my_notes.txt", "notes")
    notes, guide = load(tmp_path)
    assert guide == FileDocument(
        "deep/guide.md", {"title": "The Guide", "body": "intro\n\n# The Guide #\ntext", "path": "deep/guide.md"}
    )
    assert notes == FileDocument("my_notes.txt", {"title": "my notes", "body": "notes", "path": "my_notes.txt"})


def test_front_matter_gives_fields_and_its_title_wins(tmp_path: Path) -> None:
    text = "---\ntitle: Ours\ntags: [a, b]\ndate: 2024-01-02\n---\n# Theirs\ntext\n"
    assert sources(load(write(tmp_path, "a.md", text))) == [
        {"title": "Ours", "tags": ["a", "b"], "date": datetime.date(2024, 1, 2), "body": "# Theirs\ntext\n", "path": "a.md"}
    ]  # fmt: skip
    assert sources(load(write(tmp_path, "b.md", "+++\ntitle = 'T'\n+++\ntext")))[0]["title"] == "T"
    odd = "---\ntitle: T\nscore: .nan\n1: one\nparts: !!set {a}\n---\ntext"
    assert sources(load(write(tmp_path, "d.md", odd)))[0] == {
        "title": "T",
        "1": "one",
        "parts": ["a"],
        "body": "text",
        "path": "d.md",
    }
    assert sources(load(write(tmp_path, "e.md", "+++\nat = 07:30:00\n+++\ntext")))[0]["at"] == "07:30:00"
    assert sources(load(write(tmp_path, "c.md", "---\n\n# A rule above\n")))[0]["title"] == "A rule above"


@pytest.mark.parametrize(
    ("matter", "expected"),
    [
        ("a: [1", "front matter cannot be read"),
        ("- 1\n- 2", "list of fields"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", "aliases"),
    ],
)
def test_bad_front_matter_is_named(tmp_path: Path, matter: str, expected: str) -> None:
    assert expected in reason(only(load(write(tmp_path, "a.md", f"---\n{matter}\n---\ntext"))))


def test_html_gives_title_and_main_text(tmp_path: Path) -> None:
    page = (
        "<html><head><title> The  page </title><style>p {}</style></head><body><nav>Menu</nav><main><h1>Heading</h1>"
        "<p>A <b>w</b>ord &amp; more.<script>bad()</script></p><ul><li>one<li>two</ul></main><footer>Foot</footer></body></html>"
    )
    assert sources(load(write(tmp_path, "a.html", page))) == [
        {"title": "The page", "body": "Heading\nA word & more.\none\ntwo", "path": "a.html"}
    ]
    latin = '<meta charset="latin-1"><h1>Caf\xe9</h1>'.encode("latin-1")
    assert sources(load(write(tmp_path, "b.html", latin)))[0]["title"] == "Café"


def test_docx(tmp_path: Path) -> None:
    made = docx.Document()
    made.core_properties.title = ""
    made.add_heading("The heading", 1)
    made.add_paragraph("First.")
    made.add_table(1, 2).rows[0].cells[1].text = "cell"
    made.save(str(tmp_path / "a.docx"))
    [source] = sources(load(tmp_path / "a.docx"))
    assert source["title"] == "The heading"
    assert "First.\n" in str(source["body"])
    assert "cell" in str(source["body"])
    assert "as DOCX" in reason(only(load(write(tmp_path, "b.docx", b"nonsense"))))


def test_a_docx_file_that_expands_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MAX_UNZIPPED", 2**20)
    with zipfile.ZipFile(tmp_path / "a.docx", "w", zipfile.ZIP_DEFLATED) as parts:
        parts.writestr("word/document.xml", " " * 2**22)
    assert "expands to more than 1 MiB" in reason(only(load(tmp_path / "a.docx")))


def minimal_pdf(text: str) -> bytes:
    """A page with one line of text."""
    content = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length " + str(len(content)).encode() + b" >>\nstream\n" + content + b"\nendstream",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    made, places = bytearray(b"%PDF-1.4\n"), []
    for number, content in enumerate(objects, start=1):
        places.append(len(made))
        made += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    start = len(made)
    made += b"xref\n0 6\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % offset for offset in places)
    return bytes(made + b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % start)


def test_pdf(tmp_path: Path) -> None:
    file = write(tmp_path, "my-paper.pdf", minimal_pdf("Whales sing."))
    assert sources(load(file)) == [{"title": "my paper", "body": "Whales sing.", "path": "my-paper.pdf"}]
    assert "as PDF" in reason(only(load(write(tmp_path, "b.pdf", b"nonsense"))))
    assert only(load(write(tmp_path, "c.pdf", minimal_pdf("")))) == Skipped("files without text")


def test_what_is_left_out_is_told_by_kind(tmp_path: Path) -> None:
    write(tmp_path, "good.txt", "text")
    for name in (
        ".git/config.txt",
        "node_modules/x/readme.md",
        ".hidden.md",
        "picture.png",
        "empty.jsonl",
        "drafts/a.md",
    ):
        write(tmp_path, name, "" if name.startswith("empty") else "x")
    write(tmp_path, "binary.txt", b"\x7fELF\0\0\1")
    kinds = sorted(entry.kind for entry in load(tmp_path, ignore=("drafts",)) if isinstance(entry, Skipped))
    assert kinds == [
        "binary files", "empty files", "files of an unknown kind (.png)", "files or folders that --ignore names",
        "folders named node_modules", "hidden files or folders", "hidden files or folders",
    ]  # fmt: skip


def test_two_files_with_one_id_are_named(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write(tmp_path, f"{folder}/readme.md", folder)
    first, second = load(tmp_path / "a", tmp_path / "b")
    assert sources([first])[0]["body"] == "a"
    assert "same id [readme.md]" in reason(second)


def test_a_text_beyond_the_limit_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_DOCUMENT", 10)
    assert "larger than" in reason(only(load(write(tmp_path, "a.txt", "x" * 11))))
    assert documents.MAX_DOCUMENT < 100_000_000


@pytest.mark.parametrize("name", ["missing.jsonl", "a.exe"])
def test_unusable_paths_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.exe").write_text("")
    with pytest.raises(InvalidRequest, match=name):
        load(tmp_path / name)
