"""Queries with judgements, read from BEIR folders, TREC qrels, spreadsheets and click logs, or derived from the index itself."""

import csv
import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esblend.errors import InvalidRequest, UnusableFile

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

Grades = Mapping[str, int]
"""Grades by document id; 0 or absent: not relevant."""
_QUERY_COLUMNS = ("query", "query_text", "question", "q")
_DOCUMENT_COLUMNS = ("document", "doc_id", "document_id", "corpus-id", "_id", "id")
_GRADE_COLUMNS = ("grade", "relevance", "score", "rating", "judgement", "judgment")
_CLICK_COLUMNS = ("clicks", "clicked", "count")
_COUNTED_IDS = 10_000


@dataclass(frozen=True)
class Judged:
    """A query set: texts and grades by query id. `is_weak`: made from the index or from clicks, not judged by people."""

    name: str
    queries: Mapping[str, str]
    grades: Mapping[str, Grades]
    is_weak: bool = False

    def only(self, ids: Iterable[str]) -> "Judged":
        wanted = list(ids)
        return replace(
            self,
            queries={id_: self.queries[id_] for id_ in wanted},
            grades={id_: self.grades[id_] for id_ in wanted},
        )


def read_beir(folder: Path, split: str) -> Judged:
    """`queries.jsonl` and `qrels/<split>.tsv` of a folder in BEIR's layout. Raises UnusableFile if the split is missing."""
    file = folder / "qrels" / f"{split}.tsv"
    if not file.is_file():
        splits = ", ".join(sorted(file.stem for file in (folder / "qrels").glob("*.tsv"))) or "none"
        raise UnusableFile(f"[{folder}] has no split [{split}]; it has {splits}")
    return _judged(f"{folder.name}/{split}", read_queries(folder / "queries.jsonl"), read_qrels(file))


def read_corpus(folder: Path) -> Iterator[dict[str, Any]]:
    """`{"_id", "title", "text", ...}` of each document of a BEIR folder. Raises UnusableFile naming the line without id."""
    yield from _jsonl(folder / "corpus.jsonl", "_id")


def read_judgements(qrels: Path, queries: Path | None) -> Judged:
    """Qrels with a file of queries, or one CSV that holds both: columns for the query's text, the document and the grade.

    Raises UnusableFile when a file is missing or has another format.
    """
    if queries is None:
        return _read_spreadsheet(qrels)
    return _judged(qrels.stem, read_queries(queries), read_qrels(qrels))


def read_queries(file: Path) -> dict[str, str]:
    """JSONL with `_id` and `text`, or two columns separated by tabs. Raises UnusableFile naming the line at fault."""
    if file.suffix == ".jsonl":
        return {str(query["_id"]): str(query["text"]) for query in _jsonl(file, "_id", "text")}
    rows = [line.split("\t", 1) for line in _text(file).splitlines() if line.strip()]
    if any(len(row) != 2 for row in rows):
        raise UnusableFile(f"[{file}] must have a query's id and text on each line, separated by a tab")
    return {id_.strip(): text.strip() for id_, text in rows}


def read_qrels(file: Path) -> dict[str, dict[str, int]]:
    """TREC (query, 0, document, grade) or BEIR (query-id, corpus-id, score; with a header)."""
    grades: dict[str, dict[str, int]] = defaultdict(dict)
    for number, line in enumerate(_text(file).splitlines(), 1):
        parts = [part.strip() for part in line.split("\t" if "\t" in line else None)] if line.strip() else []
        if not parts or (number == 1 and _number(parts[-1]) is None):
            continue
        grade = _number(parts[-1])
        if len(parts) not in (3, 4) or grade is None:
            raise UnusableFile(f"[{file}:{number}] is neither a TREC nor a BEIR judgement: {line[:80]!r}")
        grades[parts[0]][parts[-2]] = _whole_number(grade, f"[{file}:{number}]", "grade", parts[-1])
    return dict(grades)


def write_qrels(judged: Judged, file: Path) -> None:
    """Write the judgements in TREC's format."""
    lines = [
        f"{id_} 0 {document} {grade}" for id_, grades in judged.grades.items() for document, grade in grades.items()
    ]
    file.write_text("\n".join(lines) + "\n", "utf-8")


def _read_spreadsheet(file: Path) -> Judged:
    reader = csv.DictReader(_text(file).splitlines())
    rows, header = list(reader), list(reader.fieldnames or ())
    query, document, grade = (
        next((column for column in header if column.lower().strip() in names), None)
        for names in (_QUERY_COLUMNS, _DOCUMENT_COLUMNS, (*_GRADE_COLUMNS, *_CLICK_COLUMNS))
    )
    if query is None or document is None:
        raise UnusableFile(
            f"[{file}] needs a column [query] and a column [document]; it has {', '.join(header) or 'none'}"
        )
    if not rows:
        raise UnusableFile(f"[{file}] has a header and no rows")
    grades: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    are_clicks = grade is None or grade.lower().strip() in _CLICK_COLUMNS
    for number, row in enumerate(rows, 2):
        text, id_ = ((row[column] or "").strip() for column in (query, document))
        if not text or not id_:
            raise UnusableFile(f"[{file}:{number}] has no value in [{document if text else query}]")
        value = 1 if grade is None else _grade(row[grade] or "0", f"[{file}:{number}]", grade)
        grades[text][id_] = grades[text][id_] + value if are_clicks else max(value, grades[text].get(id_, value))
    if are_clicks:
        grades = {text: _grades_of_clicks(clicks) for text, clicks in grades.items()}
    ids = {text: query_id(text) for text in grades}
    return Judged(file.stem, {ids[t]: t for t in grades}, {ids[t]: dict(g) for t, g in grades.items()}, are_clicks)


def _grade(text: str, where: str, column: str) -> int:
    value = _number(text)
    if value is None:
        raise UnusableFile(f"{where} has no number in [{column}]: {text!r}")
    return _whole_number(value, where, column, text)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _whole_number(value: float, where: str, column: str, text: str) -> int:
    if not value.is_integer():
        raise UnusableFile(
            f"{where} has [{column}: {text}], but grades are whole numbers, such as 0 to 3: multiply them"
        )
    return int(value)


def _grades_of_clicks(clicks: Mapping[str, int]) -> dict[str, int]:
    """1 to 3, by clicks relative to the query's most clicked document."""
    most = max(clicks.values(), default=0)
    return {document: 1 + (2 * count) // most for document, count in clicks.items() if count > 0}


def query_id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def from_titles(es: "Elasticsearch", index: str, field: str, *, size: int, seed: int) -> Judged:
    """Titles of `size` random documents as queries; the only right answer is the document itself. Weak judgements: titles are not
    questions, and other documents may answer as well. Raises InvalidRequest when the index has no titles of three words or
    more."""
    drawn = {
        "function_score": {"query": {"exists": {"field": field}}, "random_score": {"seed": seed, "field": "_seq_no"}}
    }
    hits = es.search(index=index, size=min(10_000, 3 * size), query=drawn, source_includes=[field])["hits"]["hits"]
    titles: dict[str, str] = {}
    for hit in hits:
        title = hit["_source"].get(field)
        if isinstance(title, str) and len(title.split()) >= 3:
            titles.setdefault(title.strip(), hit["_id"])
    if not titles:
        raise InvalidRequest(f"index [{index}] has no [{field}] of three words or more to use as queries")
    chosen = random.Random(seed).sample(sorted(titles), min(size, len(titles)))
    ids = {title: query_id(title) for title in chosen}
    return Judged(
        f"titles of {index}", {ids[t]: t for t in chosen}, {ids[t]: {titles[t]: 1} for t in chosen}, is_weak=True
    )


def missing_documents(es: "Elasticsearch", index: str, judged: Judged) -> tuple[int, int]:
    """(documents that are judged relevant and that the index lacks, all that are judged relevant).

    Raises InvalidRequest when the index has none of them.
    """
    relevant = sorted({id_ for grades in judged.grades.values() for id_, grade in grades.items() if grade > 0})
    count = 0
    for start in range(0, len(relevant), _COUNTED_IDS):
        ids = relevant[start : start + _COUNTED_IDS]
        # An alias or pattern may have several indices with the same id.
        count += min(len(ids), int(es.count(index=index, query={"ids": {"values": ids}})["count"]))
    if not count:
        raise InvalidRequest(
            f"index [{index}] has none of the documents that [{judged.name}] judges relevant; check the document ids"
        )
    return len(relevant) - count, len(relevant)


def _judged(name: str, texts: Mapping[str, str], grades: Mapping[str, Grades]) -> Judged:
    known = [id_ for id_ in grades if id_ in texts]
    if not known:
        raise InvalidRequest(f"no query of [{name}] has a judgement; check that both files use the same query ids")
    for id_ in known:
        if not texts[id_].strip():
            raise InvalidRequest(f"query [{id_}] of [{name}] has no text")
    return Judged(name, {id_: texts[id_] for id_ in known}, {id_: grades[id_] for id_ in known})


def _jsonl(file: Path, *required: str) -> Iterator[dict[str, Any]]:
    """The objects of a file with JSON lines. `required`: keys that each of them needs, with a text or a number."""
    for number, line in enumerate(_text(file).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UnusableFile(f"[{file}:{number}] is not valid JSON") from error
        for key in required:
            if not isinstance(row, dict) or not isinstance(row.get(key), str | int | float):
                raise UnusableFile(f"[{file}:{number}] must be an object with [{key}]: {line[:80]}")
        yield row


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")  # spreadsheet programs write a byte order mark
    except OSError as error:
        raise UnusableFile(f"[{file}] cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UnusableFile(f"[{file}] cannot be read: it is not UTF-8; save it in this encoding") from error
