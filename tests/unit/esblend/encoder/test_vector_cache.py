"""Vectors of texts seen before are not computed again, and the file stays small."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from esblend.encoder.vector_cache import VectorCache, Vectors

DIMS = 4


class Counting:
    """Gives each text a vector of its own, and counts."""

    def __init__(self) -> None:
        self.computed: list[str] = []

    def __call__(self, texts: list[str]) -> Vectors:
        self.computed += texts
        return np.array([[len(text), sum(map(ord, text)), 1, 0] for text in texts], dtype=np.float32)


def cache(folder: Path, scope: str = "model", max_bytes: int = 10**6) -> VectorCache:
    return VectorCache(folder / "vectors.sqlite", scope=scope, dims=DIMS, max_bytes=max_bytes)


def test_each_text_is_computed_once(tmp_path: Path) -> None:
    compute = Counting()
    first = cache(tmp_path).through(["a", "b", "a"], compute)
    again = cache(tmp_path).through(["b", "c", "a"], compute)
    assert compute.computed == ["a", "b", "c"]
    np.testing.assert_array_equal(first, Counting()(["a", "b", "a"]))
    np.testing.assert_array_equal(again, Counting()(["b", "c", "a"]))


def test_no_text_gives_no_vector(tmp_path: Path) -> None:
    assert cache(tmp_path).through([], Counting()).shape == (0, DIMS)


def test_another_model_or_precision_shares_nothing(tmp_path: Path) -> None:
    compute = Counting()
    cache(tmp_path, "one").through(["a"], compute)
    cache(tmp_path, "other").through(["a"], compute)
    assert compute.computed == ["a", "a"]


def test_the_longest_unused_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0]
    monkeypatch.setattr("esblend.encoder.vector_cache._now", lambda: now[0])
    small = cache(tmp_path, max_bytes=40 * 2**10)
    for number in range(40):
        now[0] = number * 3600
        small.through(["kept in use", *(f"{number}-{other}" for other in range(10))], Counting())
    with sqlite3.connect(tmp_path / "vectors.sqlite") as connection:
        [(rows,)] = connection.execute("SELECT COUNT(*) FROM embeddings")
    assert 100 < rows < 400
    compute = Counting()
    small.through(["kept in use", "0-0"], compute)
    assert compute.computed == ["0-0"]


def test_the_file_may_be_deleted_at_any_time(tmp_path: Path) -> None:
    compute, deleted = Counting(), cache(tmp_path)
    for _ in range(2):
        deleted.through(["a"], compute)
    for file in tmp_path.iterdir():
        file.unlink()
    for _ in range(2):
        deleted.through(["a"], compute)
    assert compute.computed == ["a", "a"]
    cache(tmp_path).through(["a"], compute)
    assert compute.computed == ["a", "a"]


def test_the_file_may_be_deleted_while_it_is_opened(tmp_path: Path) -> None:
    class DeletedOnce(VectorCache):
        def _connect(self) -> sqlite3.Connection:
            connection = super()._connect()
            if not deleted:
                deleted.extend(tmp_path.iterdir())
                for file in deleted:
                    file.unlink()
            return connection

    deleted: list[Path] = []
    file, compute = tmp_path / "vectors.sqlite", Counting()
    for _ in range(2):
        DeletedOnce(file, scope="model", dims=DIMS, max_bytes=10**6).through(["a"], compute)
    assert compute.computed == ["a"]


def test_a_use_is_noted_once_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most reads write nothing."""
    now = [10_000]
    monkeypatch.setattr("esblend.encoder.vector_cache._now", lambda: now[0])
    used = []
    for seconds in (0, 3599, 1, 3599):
        now[0] += seconds
        cache(tmp_path).through(["a"], Counting())
        with sqlite3.connect(tmp_path / "vectors.sqlite") as connection:
            used += [row[0] for row in connection.execute("SELECT used FROM embeddings")]
    assert used == [10_000, 10_000, 13_600, 13_600]


def test_threads_share_a_cache(tmp_path: Path) -> None:
    compute, shared = Counting(), cache(tmp_path)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: shared.through([f"text {number % 5}"], Counting()), range(40)))
    shared.through([f"text {number}" for number in range(5)], compute)
    assert compute.computed == []


def test_a_file_that_is_no_cache_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "vectors.sqlite").write_text("this is no SQLite file, and never was one")
    compute = Counting()
    cache(tmp_path).through(["a"], compute)
    cache(tmp_path).through(["a"], compute)
    assert compute.computed == ["a", "a"]


def test_a_folder_that_cannot_be_made_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    compute = Counting()
    assert cache(tmp_path / "file").through(["a"], compute).shape == (1, DIMS)


def test_what_fails_is_not_kept(tmp_path: Path) -> None:
    def failing(_: list[str]) -> Vectors:
        raise RuntimeError("injected")

    with pytest.raises(RuntimeError):
        cache(tmp_path).through(["a"], failing)
    compute = Counting()
    cache(tmp_path).through(["a"], compute)
    assert compute.computed == ["a"]


@pytest.mark.parametrize("dims", [384, 768])
def test_the_file_stays_within_its_limit(tmp_path: Path, dims: int) -> None:
    file, limit = tmp_path / "vectors.sqlite", 4 * 2**20
    limited = VectorCache(file, scope="model", dims=dims, max_bytes=limit)
    for turn in range(40):
        limited.through(
            [f"{turn} {number}" for number in range(125)], lambda texts: np.ones((len(texts), dims), dtype=np.float32)
        )
    total = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert limit / 2 < file.stat().st_size
    assert total < 1.4 * limit
