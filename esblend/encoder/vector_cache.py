"""Vectors of texts seen before, kept in one file a machine: copies and re-indexed texts are not computed again."""

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
_OVERHEAD_BYTES = 90
"""What a row takes in the file beside its vector, about."""


class VectorCache:
    """A SQLite file shared by the processes of a machine, kept under `max_bytes`; the longest unused go first.

    It may be deleted at any time. What cannot be read or written is computed as if it were not there.
    """

    def __init__(self, file: Path, *, scope: str, dims: int, max_bytes: int) -> None:
        """`scope` names what else decides a vector: the model's digest, backend and precision."""
        self._file = file
        self._scope = hashlib.sha256(scope.encode()).digest()
        self._dims = dims
        self._max_rows = max(1, max_bytes // (dims * 4 + _OVERHEAD_BYTES))
        self._added = self._max_rows  # so that the first additions look whether there is room
        self.hits = 0
        self.misses = 0

    def through(self, texts: Sequence[str], compute: Callable[[list[str]], Vectors]) -> Vectors:
        """The vectors of `texts`, (len(texts), dims); only those that are not kept yet, each once, are computed."""
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
        connection.execute(
            "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL, used INTEGER NOT NULL)"
            " WITHOUT ROWID"
        )
        connection.execute("CREATE INDEX IF NOT EXISTS by_use ON vectors (used)")
        return connection

    def _read(self, keys: list[bytes]) -> dict[bytes, Vectors]:
        found: dict[bytes, Vectors] = {}
        try:
            with closing(self._connect()) as connection, connection:
                for start in range(0, len(keys), _BATCH):
                    part = keys[start : start + _BATCH]
                    marks = ",".join("?" * len(part))
                    rows = connection.execute(f"SELECT key, vector FROM vectors WHERE key IN ({marks})", part)  # noqa: S608
                    for key, raw in rows:
                        vector = np.frombuffer(raw, dtype="<f4")
                        if vector.shape == (self._dims,):
                            found[key] = vector.astype(np.float32)
                if found:
                    connection.executemany(
                        "UPDATE vectors SET used = ? WHERE key = ?", [(_now(), key) for key in found]
                    )
        except sqlite3.Error as error:
            self._give_up("read", error)
        return found

    def _write(self, vectors: dict[bytes, Vectors]) -> None:
        rows = [(key, vector.astype("<f4").tobytes(), _now()) for key, vector in vectors.items()]
        try:
            with closing(self._connect()) as connection, connection:
                connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)
                self._added += len(rows)
                if self._added >= self._max_rows // 10:
                    self._added = 0
                    self._prune(connection)
        except sqlite3.Error as error:
            self._give_up("written", error)

    def _prune(self, connection: sqlite3.Connection) -> None:
        [(count,)] = connection.execute("SELECT COUNT(*) FROM vectors")
        if count > self._max_rows:
            excess = count - self._max_rows * 9 // 10
            connection.execute(
                "DELETE FROM vectors WHERE key IN (SELECT key FROM vectors ORDER BY used LIMIT ?)", (excess,)
            )

    def _give_up(self, what: str, error: sqlite3.Error) -> None:
        log.warning("the cache of vectors cannot be " + what, file=str(self._file), cause=str(error))


def cache_for(encoder: Encoder, form: Form, settings: Settings) -> VectorCache | None:
    """The cache for an encoder's vectors in a form as the settings want it; None when they want none."""
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
