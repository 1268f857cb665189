"""Which indices a feed process follows, by the checkpoints and the members that it sees."""

import asyncio
import contextlib
import json
import re
import threading
import time
from typing import Any

import pytest
from elasticsearch import ApiError, AsyncElasticsearch

from esblend.broker import Report
from esblend.elasticsearch_connection import connect_async
from esblend.errors import IndexUnavailable
from esblend.metrics import LAG, PAUSED
from esblend.settings import Settings
from indexer.feed import process
from indexer.feed.checkpoints import Checkpoint, ShardCheckpoint, Version, checkpoint_id
from indexer.feed.discovery import AttachedIndex, Discovery
from indexer.feed.feed import Feed
from indexer.feed.index_feed import IndexFeed
from indexer.feed.leases import Leases
from indexer.feed.metrics import remove_progress
from indexer.feed.shard_changes import IndexShards, ShardState
from indexer.feed.step_places import CONNECTIONS
from indexer.feed.task_queue import TaskQueue
from mappings.attachment import Attachment
from tests.answering_server import answering_server

KEY = checkpoint_id("u", "g1")
WRITTEN = {"_seq_no": 1, "_primary_term": 1}


def answer(owner: str | None) -> dict[str, Any]:
    """To every request: the checkpoint of this owner."""
    stored = Checkpoint(index="articles", uuid="u", generation="g1", owner=owner).model_dump()
    return {**WRITTEN, "docs": [{"_id": KEY, "found": True, **WRITTEN, "_source": stored}]}


MISSING = {
    **WRITTEN,
    "docs": [{"_id": KEY, "found": False}],
    "items": [{"index": {**WRITTEN, "status": 201}}],
}


def feed_of(es: AsyncElasticsearch) -> Feed:
    settings = Settings()
    return Feed(es, TaskQueue(settings), Leases(es, "group"), settings)


def follow(feed: Feed) -> IndexFeed:
    ours = Checkpoint(index="articles", uuid="u", generation="g1", owner=feed._leases.me)
    index = IndexFeed(ours, Version(0, 1), feed._es, feed._queue, feed._settings, feed._credit, feed._take_reports)
    feed.followed.add(KEY, index)
    return index


@pytest.mark.parametrize("owner", ["another", None])
def test_after_a_pause_an_index_that_has_another_owner_is_left(owner: str | None) -> None:
    """Without changes no save would show it."""

    async def act(url: str) -> tuple[bool, bool]:
        async with AsyncElasticsearch(url) as es:
            feed = feed_of(es)
            follow(feed)
            await feed.ownership.check()
            before = KEY in feed.feeds
            feed._leases.lapses += 1
            await feed.ownership.check()
            return before, KEY in feed.feeds

    with answering_server(200, answer(owner)) as url:
        assert asyncio.run(act(url)) == (True, False)


def test_a_deleted_checkpoint_is_saved_again() -> None:
    async def act(url: str) -> IndexFeed:
        async with AsyncElasticsearch(url) as es:
            feed = feed_of(es)
            index = follow(feed)
            await index.saved.save_if_changed(at_once=True)
            feed._leases.lapses += 1
            await feed.ownership.check()
            assert KEY in feed.feeds
            return index

    with answering_server(200, MISSING) as url:
        assert not asyncio.run(act(url)).saved.is_saved


@pytest.mark.parametrize(("seconds", "is_followed"), [(0, False), (60, True)])
def test_an_index_without_a_checkpoint_is_claimed_once_the_members_are_settled(
    seconds: float, is_followed: bool
) -> None:
    """When all checkpoints were deleted, their owners are no members for a moment."""

    async def act(url: str) -> bool:
        async with AsyncElasticsearch(url) as es:
            feed = feed_of(es)
            attachment = Attachment(field="esblend", source_fields=["body"], active="g1", generations={})
            feed._discovery.attached = {KEY: AttachedIndex("articles", "u", "g1", attachment)}
            feed._leases.members_changed_at = time.monotonic() - seconds
            await feed.ownership.take_over()
            return KEY in feed.feeds

    with answering_server(200, MISSING) as url:
        assert asyncio.run(act(url)) == is_followed


@pytest.mark.parametrize(("failing", "is_followed"), [(set(), False), ({"other"}, True)])
def test_a_process_that_cannot_work_leaves_its_indices_to_one_that_can(failing: set[str], is_followed: bool) -> None:
    async def act(url: str) -> bool:
        async with AsyncElasticsearch(url) as es:
            feed = feed_of(es)
            follow(feed)
            feed._leases.me = "me"
            feed._leases.members, feed._leases._failing = frozenset({"me", "other"}), failing
            await feed.leave_to_others()
            return KEY in feed.feeds

    with answering_server(200, answer("me")) as url:
        assert asyncio.run(act(url)) == is_followed


def test_a_process_that_cannot_work_takes_nothing_over() -> None:
    async def act(url: str) -> bool:
        async with AsyncElasticsearch(url) as es:
            feed = feed_of(es)
            attachment = Attachment(field="esblend", source_fields=["body"], active="g1", generations={})
            feed._discovery.attached = {KEY: AttachedIndex("articles", "u", "g1", attachment)}
            feed._leases.can_work = False
            await feed.ownership.take_over()
            return KEY in feed.feeds

    with answering_server(200, answer(None)) as url:
        assert not asyncio.run(act(url))


def test_the_gauges_of_a_process_that_fails_show_a_lag() -> None:
    async def act() -> None:
        async with AsyncElasticsearch("http://127.0.0.1:9") as es:
            feed = feed_of(es)
            follow(feed)
            feed.followed.active.clear()
            feed.show_outage(time.time() - 50)
            assert feed.followed.active == {KEY}  # a step has to set the gauges again

    asyncio.run(act())
    assert LAG.labels("articles", "g1")._value.get() >= 50
    assert PAUSED.labels("articles", "g1")._value.get() == 1


def test_an_index_is_released_although_its_step_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refresh may take a minute, and the other process waits for the index."""
    monkeypatch.setattr("indexer.feed.index_feed._RELEASE_SECONDS", 0.0)

    async def act(url: str) -> None:
        async with AsyncElasticsearch(url) as es:
            feed = feed_of(es)
            index = follow(feed)
            feed._steps[KEY] = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]
            feed._end_overdue_steps()
            assert not feed._steps[KEY].cancelling()
            index.leave(True)
            feed._end_overdue_steps()
            await feed._collect_steps({KEY})
            assert not feed._steps
            feed._steps[KEY] = asyncio.create_task(feed._step(KEY, index, None))
            feed._end_overdue_steps()  # not the step that releases it
            await feed._collect_steps({KEY})
            assert KEY not in feed.feeds

    with answering_server(200, {**WRITTEN}) as url:
        asyncio.run(act(url))


def test_an_index_that_is_left_has_no_step_any_more() -> None:
    """Its tasks would count as those of the next attachment of the index, and its checkpoint would be created again."""

    async def act(url: str) -> None:
        async with AsyncElasticsearch(url) as es:
            feed = feed_of(es)
            follow(feed)
            step = feed._steps[KEY] = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]
            feed._discovery.attached = {}
            feed.ownership.unfollow_detached()
            assert KEY not in feed.feeds
            assert step.cancelling()
            await asyncio.wait([step])
            await feed._collect_steps()
            assert not feed._steps

    with answering_server(200, {**WRITTEN}) as url:
        asyncio.run(act(url))


def test_a_detached_index_is_left_before_its_checkpoint_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that still runs would save it again."""

    async def look(discovery: Discovery, **_: Any) -> bool:
        discovery.attached = {}
        return True

    async def act() -> None:
        async with AsyncElasticsearch("http://localhost:1") as es:
            feed = feed_of(es)
            follow(feed)

            async def delete_stale(_: Discovery) -> None:
                assert KEY not in feed.feeds
                raise RuntimeError("the end of the test")

            monkeypatch.setattr(Discovery, "look", look)
            monkeypatch.setattr(Discovery, "delete_stale", delete_stale)
            monkeypatch.setattr(Feed, "_recover_lost_tasks", nothing)
            feed._leases._beaten_at = time.monotonic() + 60
            with pytest.raises(RuntimeError, match="the end of the test"):
                await feed.round()

    asyncio.run(act())


def test_reports_are_processed_although_the_step_that_takes_them_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are no longer in Redis, and they are those of all indices."""
    is_taken, may_answer = threading.Event(), threading.Event()
    report = Report(task="task", is_end=True)

    def take(_: TaskQueue) -> tuple[list[Report], bool]:
        is_taken.set()
        may_answer.wait(60)
        return [report], False

    monkeypatch.setattr(TaskQueue, "take", take)

    async def act() -> list[Report]:
        async with AsyncElasticsearch("http://localhost:1") as es:
            feed = feed_of(es)
            noted: list[Report] = []
            monkeypatch.setattr(feed, "_note", noted.extend)
            step = asyncio.create_task(feed._take_reports())
            await asyncio.to_thread(is_taken.wait, 60)
            step.cancel()
            await asyncio.wait([step])
            may_answer.set()
            async with feed._taking:
                return noted

    assert asyncio.run(act()) == [report]


def test_an_index_is_left_once_the_division_has_been_the_same_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process may not have seen the newest index yet, and divide them differently."""
    clock = [1000.0]
    monkeypatch.setattr("indexer.feed.ownership.time.monotonic", lambda: clock[0])

    async def act() -> None:
        async with AsyncElasticsearch("http://localhost:1") as es:
            feed = feed_of(es)
            index = follow(feed)
            leaving = []
            for owner, seconds in (("other", 0), ("other", 2), (feed._leases.me, 0), ("other", 0), ("other", 4)):
                clock[0] += seconds
                monkeypatch.setattr(feed.ownership._shares, "of", lambda *_, owner=owner: {KEY: owner})
                feed._discovery.attached = {}  # another object: the mappings were read again
                feed.ownership.divide()
                leaving.append(index._leaving_since is not None)
            assert leaving == [False, False, False, False, True]

    asyncio.run(act())


def test_an_index_is_active_from_the_beginning_of_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report of a task that the step sends would not find it otherwise."""

    async def act() -> None:
        async with AsyncElasticsearch("http://localhost:1") as es:
            feed = feed_of(es)
            follow(feed)
            feed.followed.active.clear()
            feed.followed.make_due(["articles"])
            feed._start_steps()
            assert (feed.followed.active, feed.followed.due) == ({KEY}, set())
            await feed.stop()

    monkeypatch.setattr(Leases, "resign", nothing)
    asyncio.run(act())


async def nothing(*_: Any) -> None:
    """This process has not joined."""


def test_dead_letters_that_cannot_be_read_hold_no_index_up() -> None:
    body = {"error": {"type": "no_shard_available_action_exception", "reason": "no"}, "status": 503}

    async def act(url: str) -> None:
        async with AsyncElasticsearch(url, max_retries=0) as es:
            await feed_of(es)._send_letters()

    with answering_server(503, body) as url:
        asyncio.run(act(url))


def test_an_index_whose_checkpoint_cannot_be_saved_is_not_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its checkpoint names this process, so no other one would follow it."""
    body = {"error": {"type": "no_shard_available_action_exception", "reason": "no"}, "status": 503}

    async def act(url: str) -> bool:
        async with AsyncElasticsearch(url, max_retries=0) as es:
            feed = feed_of(es)
            follow(feed)
            monkeypatch.setattr(Leases, "working_others", frozenset({"another"}))
            with pytest.raises(ApiError):
                await feed.leave_to_others()
            return KEY in feed.feeds

    with answering_server(503, body) as url:
        assert asyncio.run(act(url))


def test_a_process_that_cannot_leave_its_indices_continues(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = {"_id": KEY, "error": {"type": "no_shard_available_action_exception", "reason": "no"}}
    monkeypatch.setattr(Leases, "working_others", frozenset({"another"}))

    async def act(url: str) -> None:
        async with AsyncElasticsearch(url) as es:
            feed = feed_of(es)
            feed.ownership._unanswered[KEY] = None
            with pytest.raises(IndexUnavailable):
                await feed.leave_to_others()
            await process._note_outage(OSError("any"), feed, feed._leases, time.monotonic() - 60)
            assert not feed._leases.can_work

    with answering_server(200, {**WRITTEN, "docs": [failed]}) as url:
        asyncio.run(act(url))


async def hanging_server(is_over: asyncio.Event) -> asyncio.Server:
    """A server in place of Elasticsearch that answers no request on a sick index until the event is set."""
    body = json.dumps({**WRITTEN, "_shards": {"failed": 0}}).encode()
    head = "HTTP/1.1 200 OK\r\nx-elastic-product: Elasticsearch\r\ncontent-type: application/json\r\n"

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = re.search(r"content-length: (\d+)", request)
                await reader.readexactly(int(length[1]) if length else 0)
                if "/sick" in request.split("\r\n")[0]:
                    await is_over.wait()
                writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
                await writer.drain()
        writer.close()

    return await asyncio.start_server(handle, "127.0.0.1", 0)


def test_many_indices_that_do_not_answer_do_not_delay_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """For each, a refresh waits for a node that does not answer."""
    monkeypatch.setattr("indexer.feed.step_places.SLOW_SECONDS", 0.01)
    sent: list[str] = []

    async def act() -> None:
        is_over, is_sent = asyncio.Event(), asyncio.Event()
        server = await hanging_server(is_over)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with connect_async(Settings(es_url=url), connections=CONNECTIONS) as es:
            feed = feed_of(es)
            loop = asyncio.get_running_loop()

            def send(_: Any, task: Any, *__: Any) -> str:
                sent.append(task.index)
                loop.call_soon_threadsafe(is_sent.set)
                return "task"

            monkeypatch.setattr(feed._queue, "send", send)
            names = [*(f"sick-{number}" for number in range(40)), "sound"]
            for name in names:
                at_start = {0: ShardCheckpoint(live=-1, backfill=-1, backfill_end=-1, history="h1")}
                ours = Checkpoint(index=name, uuid=name, generation="g1", shards=at_start)
                index = IndexFeed(ours, Version(0, 1), es, feed._queue, feed._settings, feed._credit, nothing)
                feed.followed.add(ours.id, index)
                feed._watch.shards[name] = IndexShards(name, {0: ShardState(global_checkpoint=9, history="h1")})
            for indices in (names[:-1], names[-1:]):
                feed.followed.make_due(indices)
                await feed._collect_steps(feed._start_steps())
            await asyncio.wait_for(is_sent.wait(), 60)
            is_over.set()
            await feed._cancel_steps()
            for index in feed.feeds.values():
                remove_progress(index)
        server.close()

    asyncio.run(act())
    assert sent == ["sound"]
