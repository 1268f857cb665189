"""Documents from files."""

from pathlib import Path

import pytest

from esblend.errors import InvalidRequest
from indexer.files.readers import Read, Unreadable, read_documents, total_bytes


def read(*paths: Path) -> list[Read | Unreadable]:
    told: list[int] = []
    found = list(read_documents(list(paths), told.append))
    assert sum(told) == total_bytes(list(paths))
    return found


def test_jsonl(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"_id": "1", "t": "x"}\n\n{"id": 7, "t": "y"}\n{"t": "z"}\n')
    assert read(file) == [Read("1", {"t": "x"}), Read("7", {"id": 7, "t": "y"}), Read(None, {"t": "z"})]


def test_broken_lines_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"t": 1}\n{broken\n[1]\n{"t": 2}\n')
    first, broken, no_object, last = read(file)
    assert (first, last) == (Read(None, {"t": 1}), Read(None, {"t": 2}))
    assert isinstance(broken, Unreadable)
    assert broken.where == f"{file}:2"
    assert isinstance(no_object, Unreadable)
    assert "object" in no_object.reason


def test_csv_with_quotes_and_line_breaks(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text('id,title,body\n1,"A, b","two\nlines"\n2,,only body\n', "utf-8-sig")
    assert read(file) == [
        Read("1", {"id": "1", "title": "A, b", "body": "two\nlines"}),
        Read("2", {"id": "2", "body": "only body"}),
    ]


def test_a_folder_of_text_and_markdown(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "guide.md").write_text("intro\n\n# The Guide #\ntext")
    (tmp_path / "my_notes.txt").write_text("notes")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    guide, notes = read(tmp_path)
    assert isinstance(guide, Read)
    assert (guide.id, guide.source["title"]) == ("deep/guide.md", "The Guide")
    assert isinstance(notes, Read)
    assert notes.source == {"title": "my notes", "body": "notes", "path": "my_notes.txt"}


@pytest.mark.parametrize("name", ["missing.jsonl", "a.exe"])
def test_unusable_paths_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.exe").write_text("")
    with pytest.raises(InvalidRequest, match=name):
        read(tmp_path / name)
