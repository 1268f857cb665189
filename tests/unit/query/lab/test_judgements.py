"""Judgements are read from what people have, and what cannot be read is named."""

from pathlib import Path

import pytest

from esblend.errors import InvalidRequest
from query.lab.judgements import read_beir, read_corpus, read_judgements, read_qrels, write_qrels


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
    return file


def test_trec_and_beir_judgements_are_told_apart_by_their_columns(tmp_path: Path) -> None:
    trec = write(tmp_path, "a", "1 0 x 2\n1 0 y 0\n")
    beir = write(tmp_path, "b", "query-id\tcorpus-id\tscore\n1\tx\t2\n1\ty\t0\n")
    assert read_qrels(trec) == read_qrels(beir) == {"1": {"x": 2, "y": 0}}


def test_a_folder_in_beirs_layout(tmp_path: Path) -> None:
    write(tmp_path, "set/queries.jsonl", '{"_id": "1", "text": "one"}\n{"_id": "2", "text": "two"}\n')
    write(tmp_path, "set/qrels/test.tsv", "query-id\tcorpus-id\tscore\n2\tx\t1\n")
    judged = read_beir(tmp_path / "set", "test")
    assert (judged.name, dict(judged.queries), dict(judged.grades)) == ("set/test", {"2": "two"}, {"2": {"x": 1}})
    assert not judged.is_weak


def test_a_spreadsheet_holds_queries_and_grades(tmp_path: Path) -> None:
    judged = read_judgements(write(tmp_path, "s.csv", 'query,document,grade\n"a, b",x,3\n"a, b",y,0\nc,x,1\n'), None)
    by_text = {judged.queries[id_]: grades for id_, grades in judged.grades.items()}
    assert by_text == {"a, b": {"x": 3, "y": 0}, "c": {"x": 1}}


def test_a_spreadsheet_with_a_byte_order_mark_and_grades_with_a_decimal_point(tmp_path: Path) -> None:
    judged = read_judgements(write(tmp_path, "s.csv", "\ufeffquery,document,grade\na,x,2.0\na,y,-1\n"), None)
    assert list(judged.grades.values()) == [{"x": 2, "y": -1}]
    (tmp_path / "latin.csv").write_bytes("query,document\nGröße,x\n".encode("latin-1"))
    with pytest.raises(InvalidRequest, match="it is not UTF-8"):
        read_judgements(tmp_path / "latin.csv", None)


def test_ids_between_tabs_may_contain_spaces(tmp_path: Path) -> None:
    file = write(tmp_path, "b", "query-id\tcorpus-id\tscore\nq 1\tthe document\t2\n")
    assert read_qrels(file) == {"q 1": {"the document": 2}}


def test_clicks_become_grades_by_the_share_of_the_most_clicked_and_are_weak(tmp_path: Path) -> None:
    judged = read_judgements(
        write(tmp_path, "c.csv", "query,document,clicks\nq,x,40\nq,x,60\nq,y,50\nq,z,10\nq,w,0\n"), None
    )
    assert list(judged.grades.values()) == [{"x": 3, "y": 2, "z": 1}]
    assert judged.is_weak


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("title,document\na,b\n", r"needs a column \[query\]"),
        ("query,document,grade\na,b,many\n", r":2\] has no number in \[grade\]"),
        ("", r"it has none"),
        ("query,document,grade\na,b,0.5\n", r":2\] has \[grade: 0.5\], but grades are whole numbers"),
        ("query,document,grade\na,b,nan\n", r":2\] has \[grade: nan\]"),
        ("query,document,grade\na\n", r":2\] has no value in \[document\]"),
        ("query,document,grade\n", "has a header and no rows"),
    ],
)
def test_a_wrong_spreadsheet_is_named(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        read_judgements(write(tmp_path, "s.csv", text), None)


def test_a_wrong_line_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"q:2\] is neither"):
        read_qrels(write(tmp_path, "q", "1 0 x 1\nnonsense\n"))
    with pytest.raises(InvalidRequest, match="cannot be read"):
        read_qrels(tmp_path / "nothing")
    queries = write(tmp_path, "queries.tsv", "7\tseven\n")
    with pytest.raises(InvalidRequest, match="check that both files use the same query ids"):
        read_judgements(write(tmp_path, "r", "1 0 x 1\n"), queries)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    judged = read_judgements(write(tmp_path, "r", "1 0 x 1\n2 0 y 3\n"), write(tmp_path, "q.tsv", "1\tone\n2\ttwo\n"))
    write_qrels(judged, tmp_path / "again")
    assert read_qrels(tmp_path / "again") == judged.grades


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1 0 x 0.5", r":1\] has \[grade: 0.5\], but grades are whole numbers"),
        ("1 0 x 1\n1 0 y --1", r":2\] is neither"),
    ],
)
def test_a_grade_that_is_no_whole_number_is_named_also_in_the_first_line(
    line: str, reason: str, tmp_path: Path
) -> None:
    """A header, by contrast, has no number there."""
    with pytest.raises(InvalidRequest, match=reason):
        read_qrels(write(tmp_path, "q", f"{line}\n"))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[]", r":1\] must be an object with \[_id\]"),
        ('{"id": "1", "text": "one"}', r":1\] must be an object with \[_id\]"),
        ('{"_id": "1", "text": null}', r":1\] must be an object with \[text\]"),
        ('{"_id": "1", "text": " "}', r"query \[1\] of \[r\] has no text"),
    ],
)
def test_a_query_without_id_or_text_is_named(line: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        read_judgements(write(tmp_path, "r", "1 0 x 1\n"), write(tmp_path, "q.jsonl", f"{line}\n"))


def test_a_document_without_id_is_named(tmp_path: Path) -> None:
    write(tmp_path, "corpus.jsonl", '{"_id": "1", "text": "one"}\n{"text": "two"}\n')
    with pytest.raises(InvalidRequest, match=r"corpus.jsonl:2\] must be an object with \[_id\]"):
        list(read_corpus(tmp_path))
