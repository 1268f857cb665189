"""Vectors of earlier texts, in one file per machine: copies and re-indexed texts are not computed again."""

import hashlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from esblend.cache import cache_dir
from esblend.encoder.encoder import Encoder
from esblend.encoder.model import Form
from esblend.metrics import CACHE
from esblend.settings import Settings

log = structlog.get_logger()
Vectors = NDArray[np.float32]
_BATCH = 500  # SQLite allows 999 variables in one statement in its oldest builds
_LOG_BYTES = 2**20
"""The size of the write-ahead log between two writes, at most."""


class VectorCache:
    """A SQLite file that the processes of a machine share. Above `max_bytes` the vectors unused for the longest time are deleted.

    The file may be deleted at any time. When it cannot be read or written, all vectors are computed.
    """

    def __init__(self, file: Path, *, scope: str, dims: int, max_bytes: int) -> None:
        """`scope` names everything except the text that decides a vector: the model's digest, backend and precision."""
        self._file = file
        self._scope = hashlib.sha256(scope.encode()).digest()
        self._dims = dims
        self._max_bytes = max_bytes
        self.hits = 0
        self.misses = 0

    def through(self, texts: Sequence[str], compute: Callable[[list[str]], Vectors]) -> Vectors:
        """The vectors of `texts`, (len(texts), dims); only missing vectors are computed, each once."""
        keys = [self._key(text) for text in texts]
        known = self._read(list(dict.fromkeys(keys)))
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        self.misses += len(missing)
        self.hits += len(texts) - len(missing)
        CACHE.labels("hit").inc(len(texts) - len(missing))
        CACHE.labels("miss").inc(len(missing))
        if missing:
            computed = dict(zip(missing, compute(list(missing.values())), strict=True))
            self._write(computed)
            known |= computed
        if not texts:
            return np.empty((0, self._dims), dtype=np.float32)
        return np.stack([known[key] for key in keys])

    def _key(self, text: str) -> bytes:
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=self._scope).digest()

    def _connect(self) -> sqlite3.Connection:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._file, timeout=5)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA journal_size_limit={_LOG_BYTES}")
        connection.execute("PRAGMA wal_autocheckpoint=200")
        # Earlier versions had a table WITHOUT ROWID. Each of its vectors filled a separate page, three times the size.
        connection.execute("DROP TABLE IF EXISTS vectors")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS embeddings (key BLOB NOT NULL UNIQUE, vector BLOB NOT NULL, used INTEGER NOT NULL)"
        )
        connection.execute("CREATE INDEX IF NOT EXISTS embeddings_by_use ON embeddings (used)")
        return connection

    def _read(self, keys: list[bytes]) -> dict[bytes, Vectors]:
        cached: dict[bytes, Vectors] = {}
        try:
            with closing(self._connect()) as connection, connection:
                for start in range(0, len(keys), _BATCH):
                    part = keys[start : start + _BATCH]
                    marks = ",".join("?" * len(part))
                    rows = connection.execute(f"SELECT key, vector FROM embeddings WHERE key IN ({marks})", part)  # noqa: S608
                    for key, raw in rows:
                        vector = np.frombuffer(raw, dtype="<f4")
                        if vector.shape == (self._dims,):
                            cached[key] = vector.astype(np.float32)
                if cached:
                    connection.executemany(
                        "UPDATE embeddings SET used = ? WHERE key = ?", [(_now(), key) for key in cached]
                    )
        except sqlite3.Error as error:
            self._give_up("read", error)
        return cached

    def _write(self, vectors: dict[bytes, Vectors]) -> None:
        rows = [(key, vector.astype("<f4").tobytes(), _now()) for key, vector in vectors.items()]
        try:
            with closing(self._connect()) as connection, connection:
                connection.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)", rows)
                self._prune(connection)
        except sqlite3.Error as error:
            self._give_up("written", error)

    def _prune(self, connection: sqlite3.Connection) -> None:
        """Delete a fifth of the vectors when the file's pages in use exceed the limit. SQLite reuses free pages."""
        [(size,)], [(pages,)], [(free,)] = (
            connection.execute(f"PRAGMA {name}").fetchall() for name in ("page_size", "page_count", "freelist_count")
        )
        if (pages - free) * size <= self._max_bytes:
            return
        [(count,)] = connection.execute("SELECT COUNT(*) FROM embeddings")
        connection.execute(
            "DELETE FROM embeddings WHERE rowid IN (SELECT rowid FROM embeddings ORDER BY used LIMIT ?)",
            (count // 5 + 1,),
        )

    def _give_up(self, what: str, error: sqlite3.Error) -> None:
        log.warning("embedding cache cannot be " + what, file=str(self._file), cause=str(error))


def cache_for(encoder: Encoder, form: Form, settings: Settings) -> VectorCache | None:
    """The cache for vectors of an encoder in a form; None when the settings disable it."""
    if settings.embedding_cache_mb == 0:
        return None
    return VectorCache(
        settings.embedding_cache or cache_dir() / "vectors.sqlite",
        scope=f"{encoder.digest}|{encoder.backend}|{encoder.precision}|{form.key}",
        dims=form.dims or encoder.dims,
        max_bytes=settings.embedding_cache_mb * 2**20,
    )


def _now() -> int:
    return int(time.time())
