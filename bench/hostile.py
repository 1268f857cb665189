"""The hostile requests of `bench load`, through the gateway and, in a plain form, directly to Elasticsearch."""

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from bench.overhead import FIELDS, INDEX, knn

LEAVES_AFTER = 0.01
JSON = {"content-type": "application/json"}
_NDJSON = {"content-type": "application/x-ndjson"}
_LETTERS = str.maketrans("0123456789", "abcdefghij")


class MakeBody(Protocol):
    """Makes the body of a search. `options`: of `hybrid`."""

    def __call__(self, text: str, options: dict[str, Any] | None = None, **more: Any) -> bytes: ...


def hybrid(text: str, options: dict[str, Any] | None = None, **more: Any) -> bytes:
    return json.dumps({"query": {"hybrid": {"query": text, **(options or {})}}, **more}).encode()


def plain_search(vectors: Sequence[Sequence[float]]) -> MakeBody:
    """Searches that Elasticsearch answers itself: the sum of BM25 and kNN, with vectors that are computed already."""

    def make(text: str, options: dict[str, Any] | None = None, **more: Any) -> bytes:
        given = options or {}
        lexical = {"multi_match": {"query": text, "fields": given.get("fields", FIELDS), "type": "cross_fields"}}
        nearest = knn({"query_vector": vectors[zlib.crc32(text.encode()) % len(vectors)]})
        window = given.get("rank_window_size", nearest["k"])
        nearest = {**nearest, "k": window, "num_candidates": max(window, nearest["num_candidates"])}
        return json.dumps({"query": lexical, "knn": nearest, **more}).encode()

    return make


@dataclass(frozen=True)
class Hostile:
    """A kind of hostile request."""

    body: Callable[[int], bytes]
    """Of the request with this number. Texts differ, so that no cache has their vectors."""
    target: str = f"/{INDEX}/_search"
    headers: dict[str, str] = field(default_factory=lambda: JSON)
    leaves_after: float = 60
    """Seconds."""


def hostile_requests(texts: list[str], search: MakeBody) -> dict[str, Hostile]:
    """By kind."""
    stars = "filter_path=" + "*a" * 40 + "*b"
    key: dict[str, Any] = {"size": 1, "aggs": {"a" * 2000: {"terms": {"field": "_index"}}}}
    query = json.loads(search("x"))["query"]
    deep = b'{"query":' + b'{"bool":{"must":' * 5000 + json.dumps(query).encode() + b"}}" * 5000 + b"}"
    inside: Any = query
    for _ in range(15):
        inside = {"bool": {"must": [inside, {"match": {"title": "x"}}]}}
    levels: Any = {"max": {"field": "x"}}
    for _ in range(400):
        levels = {"filter": {"match_all": {}}, "aggs": {"a": levels}}
    words = " ".join(f"word{number:05}" for number in range(9900))
    wildcards = ["*a" * 400 + f"*{number}" for number in range(100)]
    many = b"".join(b"{}\n" + search(f"{texts[n % len(texts)]} {n} NUMBER") + b"\n" for n in range(1000))

    def searches(number: int) -> bytes:
        return many.replace(b"NUMBER", b"%d" % number)

    return {
        "filter_path of 41 stars": Hostile(lambda n: search(f"cells {n}", **key), f"/{INDEX}/_search?{stars}"),
        "10,000 levels of nesting": Hostile(lambda _: deep),
        "800 levels of aggregations": Hostile(lambda n: search(f"cells {n}", aggs={"a": levels})),
        "a hybrid in 15 bool queries": Hostile(lambda _: json.dumps({"query": inside}).encode()),
        "100 fields of 400 stars": Hostile(lambda n: search(f"cells {n}", {"fields": wildcards})),
        "9,900 distinct words": Hostile(lambda n: search(f"{words} {n}", {"fields": ["text"]})),
        "one word of 100,000 letters": Hostile(lambda n: search(f"{n:06}".translate(_LETTERS) + "x" * 99_994)),
        "windows and a page of 10,000": Hostile(
            lambda n: search(f"cells {n}", {"rank_window_size": 10_000}, size=10_000)
        ),
        "1,000 searches": Hostile(searches, f"/{INDEX}/_msearch", _NDJSON),
        "leaves a search": Hostile(lambda n: search(f"{texts[0]} {n}"), leaves_after=LEAVES_AFTER),
        "leaves 1,000 searches": Hostile(searches, f"/{INDEX}/_msearch", _NDJSON, LEAVES_AFTER),
    }
