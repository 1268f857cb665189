"""Vectors of earlier texts, in one file per machine: copies and re-indexed texts are not computed again."""

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
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
_USE_SECONDS = 3600
"""How exactly the time of the last use is kept: most reads then write nothing."""


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
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        """Device and number of the file that is open."""
        self._lock = threading.Lock()
        self.hits = 0
        self.misses = 0

    def __del__(self) -> None:
        self._close()

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

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction on the open file. Raises sqlite3.Error.

        To open and close the file costs as much as hundreds of vectors: the last process that closes it copies the whole log.
        """
        with self._lock:
            # Somebody may have deleted the file, even between opening it and asking which one it is.
            if self._connection is None or self._opened is None or self._identity() != self._opened:
                self._close()
                self._connection = self._connect()
                self._opened = self._identity()
            try:
                with self._connection:
                    yield self._connection
            except sqlite3.Error:
                self._close()
                raise

    def _identity(self) -> tuple[int, int] | None:
        with suppress(OSError):
            found = os.stat(self._file)
            return found.st_dev, found.st_ino
        return None

    def _close(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None

    def _connect(self) -> sqlite3.Connection:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._file, timeout=5, check_same_thread=False)
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
        now, used_before = _now(), []
        try:
            with self._transaction() as connection:
                for start in range(0, len(keys), _BATCH):
                    part = keys[start : start + _BATCH]
                    marks = ",".join("?" * len(part))
                    rows = connection.execute(f"SELECT key, vector, used FROM embeddings WHERE key IN ({marks})", part)  # noqa: S608
                    for key, raw, used in rows:
                        vector = np.frombuffer(raw, dtype="<f4")
                        if vector.shape == (self._dims,):
                            cached[key] = vector.astype(np.float32)
                            if now - used >= _USE_SECONDS:
                                used_before.append((now, key))
                if used_before:
                    connection.executemany("UPDATE embeddings SET used = ? WHERE key = ?", used_before)
        except (sqlite3.Error, OSError) as error:
            self._give_up("read", error)
        return cached

    def _write(self, vectors: dict[bytes, Vectors]) -> None:
        rows = [(key, vector.astype("<f4").tobytes(), _now()) for key, vector in vectors.items()]
        try:
            with self._transaction() as connection:
                connection.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)", rows)
                is_pruned = self._prune(connection)
            if is_pruned:
                with self._transaction() as connection:  # each deleted page is in the log as well
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except (sqlite3.Error, OSError) as error:
            self._give_up("written", error)

    def _prune(self, connection: sqlite3.Connection) -> bool:
        """Delete a fifth of the vectors when the file's pages in use exceed the limit; whether it did. SQLite reuses free pages."""
        [(size,)], [(pages,)], [(free,)] = (
            connection.execute(f"PRAGMA {name}").fetchall() for name in ("page_size", "page_count", "freelist_count")
        )
        if (pages - free) * size <= self._max_bytes:
            return False
        [(count,)] = connection.execute("SELECT COUNT(*) FROM embeddings")
        connection.execute(
            "DELETE FROM embeddings WHERE rowid IN (SELECT rowid FROM embeddings ORDER BY used LIMIT ?)",
            (count // 5 + 1,),
        )
        return True

    def _give_up(self, what: str, error: Exception) -> None:
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
