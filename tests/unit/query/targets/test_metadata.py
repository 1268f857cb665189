"""Metadata is read once for all searches that wait for it, and again in the background while it is in use."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from esblend.errors import IndexNotFound
from mappings.index_lookup import IndexView
from query.targets import metadata
from query.targets.metadata import Metadata, Requester


class Reads:
    """Counts the reads of index metadata; each waits until it is released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started = 0
        self.release = asyncio.Event()
        self.release.set()
        self.error: Exception | None = None
        self.now = 100.0
        monkeypatch.setattr(metadata, "view_indices", self._view)
        monkeypatch.setattr(metadata, "time", SimpleNamespace(monotonic=lambda: self.now))

    async def _view(self, *_: Any, **__: Any) -> dict[str, IndexView]:
        self.started += 1
        await self.release.wait()
        if self.error is not None:
            raise self.error
        return {"books": IndexView(None, {}, uuid=f"read {self.started}")}


def requester() -> Requester:
    return Requester(lambda: None, "key")  # type: ignore[arg-type, return-value]


async def search(metadata: Metadata) -> dict[str, Any]:
    return await metadata.attached(requester(), ["books"])


async def test_searches_at_once_share_a_read_which_survives_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    reads, metadata = Reads(monkeypatch), Metadata(None)
    reads.release.clear()
    first, *others = [asyncio.create_task(search(metadata)) for _ in range(10)]
    await asyncio.sleep(0)
    first.cancel()
    reads.release.set()
    assert await asyncio.gather(*others) == [{}] * 9
    assert reads.started == 1


async def test_a_search_on_known_metadata_makes_no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    Reads(monkeypatch)
    metadata, clients = Metadata(None), list[str]()
    for _ in range(3):
        await metadata.attached(Requester(lambda: clients.append("made"), "key"), ["books"])  # type: ignore[arg-type, func-returns-value, return-value]
    assert clients == ["made"]


async def test_used_metadata_is_read_again_before_it_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    reads, metadata = Reads(monkeypatch), Metadata(None)
    await search(metadata)
    reads.release.clear()
    for reads.now in (100.4, 100.6, 100.8):
        await asyncio.wait_for(search(metadata), 5)  # none waits for the read that the second one begins
    await asyncio.sleep(0)
    assert reads.started == 2
    reads.now = 101.1
    waiting = asyncio.create_task(search(metadata))
    await asyncio.sleep(0)
    assert not waiting.done()  # too old: it waits for the read in progress
    reads.release.set()
    await waiting
    assert reads.started == 2


async def test_an_error_in_the_background_is_reported_to_the_next_search(monkeypatch: pytest.MonkeyPatch) -> None:
    reads, metadata = Reads(monkeypatch), Metadata(None)
    await search(metadata)
    reads.now, reads.error = 100.7, IndexNotFound("no such index [books]")
    await search(metadata)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with pytest.raises(IndexNotFound):
        await search(metadata)


async def test_a_change_is_not_hidden_by_a_read_that_began_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    reads, metadata = Reads(monkeypatch), Metadata(None)
    reads.release.clear()
    before = asyncio.create_task(search(metadata))
    await asyncio.sleep(0)
    metadata.forget()
    after = asyncio.create_task(search(metadata))
    await asyncio.sleep(0)
    reads.release.set()
    await asyncio.gather(before, after)
    await search(metadata)
    assert reads.started == 2
