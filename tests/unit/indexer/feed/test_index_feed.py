"""What the feed of an index makes of finished tasks and of shard stats."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch

from esblend import tracing
from esblend.broker import DocumentRef, EmbedResult, Lane, Report
from esblend.settings import Settings
from indexer.feed.checkpoints import Checkpoint, ShardCheckpoint
from indexer.feed.credit import Credit
from indexer.feed.index_feed import IndexFeed
from indexer.feed.lost_tasks import SentTask
from indexer.feed.shard_changes import IndexShards, ShardState
from indexer.feed.task_queue import TaskQueue
from tests.answering_server import answering_server


def end(task: str, result: EmbedResult | None) -> Report:
    return Report(task=task, is_end=True, result=result)


async def no_reports() -> None:
    """No worker reports anything."""


def feed_with(*tasks: str, history: str | None = "h1") -> IndexFeed:
    """A feed that has sent ten changes of shard 0 with each of `tasks`."""
    settings = Settings()
    at_start = {0: ShardCheckpoint(live=-1, backfill=-1, backfill_end=-1, history=history)}
    checkpoint = Checkpoint(index="articles", uuid="u", generation="g1", shards=at_start)
    es = AsyncElasticsearch(settings.es_url)
    credit = Credit()
    credit.join(checkpoint.id)
    feed = IndexFeed(checkpoint, None, es, TaskQueue(settings), settings, credit, no_reports)
    for number, task in enumerate(tasks):
        feed.tasks[task] = SentTask("live", 0, 10 * number - 1, 10 * number + 9, 10, 0.0)
        feed.cursors["live"][0].send(10 * number + 9, task)
    return feed


def test_finished_tasks_move_the_checkpoint() -> None:
    feed = feed_with("a", "b")
    for task, until in (("b", 19), ("a", 9)):
        feed.note(end(task, EmbedResult(written=10, until=until)))
    assert not feed.is_busy
    assert feed.positions.of(0).live == 19


def test_only_a_failed_task_is_sent_again() -> None:
    feed = feed_with("a", "b", "c")
    feed.note(end("a", EmbedResult(written=10, until=9)))
    feed.note(end("b", None))
    feed.note(end("c", EmbedResult(written=10, until=29)))
    assert not feed.is_busy
    assert feed.positions.of(0).live == 9
    [span] = feed.cursors["live"][0].unsent
    assert (span.after, span.until) == (9, 19)
    assert "failed" in (feed.checkpoint.paused_because or "")


@pytest.mark.parametrize("result", [EmbedResult(written=10), EmbedResult(written=10, until=-1)])
def test_a_result_that_does_not_say_how_far_it_came_is_a_failure(result: EmbedResult) -> None:
    feed = feed_with("a")
    feed.note(end("a", result))
    assert feed.positions.of(0).live == -1
    assert [(span.after, span.until) for span in feed.cursors["live"][0].unsent] == [(-1, 9)]
    assert "failed" in (feed.checkpoint.paused_because or "")


def test_a_task_that_stopped_early_is_done_up_to_there() -> None:
    feed = feed_with("a")
    feed.note(end("a", EmbedResult(written=10, until=4)))
    assert feed.positions.of(0).live == 4
    assert feed.checkpoint.paused_because is None


def test_a_shard_with_a_new_history_is_read_again_by_the_backfill() -> None:
    feed = feed_with("a", "b")
    feed._begin_history(0, ShardState(global_checkpoint=30, history="h2", committed=12))
    assert feed.positions.of(0) == ShardCheckpoint(live=12, backfill=-1, backfill_end=12, history="h2")
    assert not feed.is_busy


def test_the_part_of_an_index_becomes_free_with_its_tasks() -> None:
    """Also between two steps: a closed index has none."""
    feed = feed_with("a", "b", "c", "d")
    feed._credit.join("other")
    feed._note_in_flight()
    feed._credit.set("live", "other", 1)
    assert not feed._credit.allows("live", "other")
    feed.note(end("a", EmbedResult(written=10, until=9)))
    feed.note(end("b", None))
    feed.lose(["c"])
    assert feed._credit.allows("live", "other")
    feed._begin_history(0, ShardState(global_checkpoint=30, history="h2", committed=12))
    feed._credit.set("live", "other", 3)
    assert feed._credit.allows("live", "other")


def test_a_shard_of_the_same_history_keeps_its_position() -> None:
    feed = feed_with("a")
    feed._begin_history(0, ShardState(global_checkpoint=30, history="h1", committed=12))
    assert feed.tasks.keys() == {"a"}
    assert feed.positions.of(0).history == "h1"


def test_a_checkpoint_without_a_history_adopts_the_present_one() -> None:
    feed = feed_with("a", history=None)
    feed._begin_history(0, ShardState(global_checkpoint=30, history="h1", committed=12))
    assert feed.tasks.keys() == {"a"}
    assert feed.positions.of(0).history == "h1"


@pytest.mark.parametrize(
    ("lane", "reports", "is_awaited"), [("backfill", 3, True), ("backfill", 2, False), ("live", 3, False)]
)
def test_frequent_reports_of_a_backfill_are_awaited_before_a_refresh(
    lane: Lane, reports: int, is_awaited: bool
) -> None:
    """Of ten changes, some are reported. The others are reported a moment later, or they are not a worker's."""
    feed = feed_with()
    feed.tasks["a"] = SentTask(lane, 0, 10, 19, 10, 0.0)
    for number in range(reports):
        feed.note(Report(task="a", written=[(number, number)]))
    calls = 0

    async def take_reports() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            feed.note(Report(task="a", written=[(reports, 9)]))

    async def act() -> None:
        async with AsyncElasticsearch("http://127.0.0.1:9", max_retries=0) as es:
            feed._es = feed.saved._es = es
            feed._take_reports = take_reports
            await feed._send_due_lanes(IndexShards("u", {0: ShardState(global_checkpoint=9, highest=9)}))

    if is_awaited:
        asyncio.run(act())
        assert feed.cursors["live"][0].done == 9
    else:
        with pytest.raises(TransportError):
            asyncio.run(act())
        assert calls == 1


class RecordedQueue(TaskQueue):
    """A queue without Redis: it records the sent tasks with their traced changes."""

    def __init__(self) -> None:
        super().__init__(Settings())
        self.sent: list[tuple[int, int, int]] = []

    def send(self, lane: Lane, task: Any, task_id: str | None = None, changes: Sequence[DocumentRef] = ()) -> str:
        self.sent.append((task.after, task.until, len(changes)))
        return str(task_id)


def test_a_failed_search_for_traces_does_not_pause_an_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "is_on", lambda: True)
    feed, queue = feed_with(), RecordedQueue()
    feed._queue = queue
    with answering_server(500, {"error": {"type": "any_exception", "reason": "any"}}) as url:
        feed._es = feed.saved._es = AsyncElasticsearch(url, max_retries=0)
        assert asyncio.run(feed._send_range("live", 0, -1, 9))
    assert queue.sent == [(-1, 9, 0)]
    assert feed.in_flight("live") == 1


def test_a_task_is_not_in_flight_while_its_traces_are_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another task gets lost meanwhile: its changes are sent first."""
    feed, queue, seen = feed_with("a"), RecordedQueue(), []
    feed._queue = queue

    async def traced_changes(*_: Any) -> list[DocumentRef]:
        seen.append(sorted(feed.tasks))
        feed.lose(["a"])
        return []

    monkeypatch.setattr("indexer.feed.index_feed.traced_changes", traced_changes)
    assert not asyncio.run(feed._send_range("live", 0, 9, 19))
    assert (seen, queue.sent) == ([["a"]], [])
    assert feed.cursors["live"][0].next_unsent(19) == (-1, 9)


@pytest.mark.parametrize(("reported", "sent"), [((10, 19), []), ((10, 14), [(14, 19, 0)])])
def test_worker_writes_reported_during_the_refresh_cause_no_task(
    reported: tuple[int, int], sent: list[tuple[int, int, int]]
) -> None:
    feed = feed_with("a")
    queue = RecordedQueue()
    feed._queue = queue

    async def take_reports() -> None:
        feed.note(Report(task="a", written=[reported]))

    feed._take_reports = take_reports
    shards = IndexShards("u", {0: ShardState(global_checkpoint=19, history="h1")})
    with answering_server(200, {"_shards": {"failed": 0}, "_seq_no": 1, "_primary_term": 1}) as url:
        feed._es = feed.saved._es = AsyncElasticsearch(url)
        asyncio.run(feed.step(shards))
    assert queue.sent == sent
    assert feed.cursors["live"][0].sent == 19


def test_worker_writes_above_older_shard_stats_are_kept() -> None:
    """The report of the last task may come before the stats that show its writes."""
    feed = feed_with("a")
    feed.note(Report(task="a", written=[(10, 19)], is_end=True, result=EmbedResult(written=10, until=9)))
    queue = RecordedQueue()
    feed._queue = queue
    earlier, later = (IndexShards("u", {0: ShardState(global_checkpoint=end, history="h1")}) for end in (9, 19))
    with answering_server(200, {"_shards": {"failed": 0}, "_seq_no": 1, "_primary_term": 1}) as url:
        feed._es = feed.saved._es = AsyncElasticsearch(url)
        feed._shards = earlier
        asyncio.run(feed.step(earlier))
        feed._es = feed.saved._es = AsyncElasticsearch(url)
        asyncio.run(feed.step(later))
    assert queue.sent == []
    assert feed.positions.of(0).live == 19


def step(feed: IndexFeed, shards: IndexShards) -> None:
    feed._queue = RecordedQueue()
    with answering_server(200, {"_shards": {"failed": 0}, "_seq_no": 1, "_primary_term": 1}) as url:
        feed._es = feed.saved._es = AsyncElasticsearch(url)
        asyncio.run(feed.step(shards))


def test_an_index_is_at_rest_when_all_copies_have_all_changes_and_all_are_done() -> None:
    feed = feed_with("a")
    stats = {0: ShardState(global_checkpoint=9, history="h1", highest=9)}
    step(feed, IndexShards("u", stats))
    assert not feed.is_at_rest  # a task is unfinished
    feed.note(end("a", EmbedResult(written=10, until=9)))
    assert not feed.is_at_rest  # the checkpoint is not saved yet
    step(feed, IndexShards("u", stats))
    assert feed.is_at_rest
    feed.leave(True)
    assert not feed.is_at_rest  # it has to be released
    feed.leave(False)
    feed.saved.save_again()
    assert not feed.is_at_rest


def test_an_index_with_a_change_that_not_all_copies_have_is_not_at_rest() -> None:
    """The write was counted already, so no counter will show when the global checkpoint reaches it."""
    feed = feed_with()
    step(feed, IndexShards("u", {0: ShardState(global_checkpoint=-1, history="h1", highest=0)}))
    assert feed.checkpoint.pending_since is None
    assert not feed.is_at_rest


def test_a_paused_index_is_not_at_rest() -> None:
    feed = feed_with()
    stats = IndexShards("u", {0: ShardState(global_checkpoint=-1, history="h1")})
    step(feed, stats)
    assert feed.is_at_rest
    feed.fail("any")
    assert not feed.is_at_rest


def test_an_index_that_could_not_be_released_keeps_its_owner() -> None:
    """It may stay with this process, because the members change again."""
    feed = feed_with()
    feed.saved.update(owner="me")
    feed.leave(True)
    with answering_server(400, {"error": {"type": "any_exception", "reason": "any"}}) as url:
        feed._es = feed.saved._es = AsyncElasticsearch(url, max_retries=0)
        with pytest.raises(ApiError):
            asyncio.run(feed.saved.release(feed.positions.all()))
    assert feed.checkpoint.owner == "me"


def test_an_index_that_is_to_be_left_gets_no_further_task() -> None:
    """Also in a step that began before."""
    feed, queue = feed_with(), RecordedQueue()
    feed._queue = queue

    def send(lane: Lane, task: Any, task_id: str | None = None, changes: Sequence[DocumentRef] = ()) -> str:
        feed.leave(True)
        return RecordedQueue.send(queue, lane, task, task_id, changes)

    queue.send = send  # type: ignore[method-assign]
    limits: dict[Lane, dict[int, int]] = {"live": {0: 99}}
    asyncio.run(feed._send_lane("live", limits))
    assert len(queue.sent) == 1
    assert feed.cursors["live"][0].sent < 99


async def save_after(feed: IndexFeed, clock: list[float], saved: list[int]) -> None:
    """Two completed tasks; the wall clock is an hour earlier at the second."""
    shards = IndexShards("u", {0: ShardState(global_checkpoint=100, history="h1")})
    for task, until in (("a", 9), ("b", 19)):
        feed.note(end(task, EmbedResult(written=10, until=until)))
        feed.saved._saved_at -= 2  # two seconds pass
        await feed._save_if_moved(shards)
        saved.append(feed.positions.of(0).live)
        clock[0] -= 3600


def test_checkpoints_are_saved_after_the_clock_steps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, saves, positions = [1e9], [], []
    monkeypatch.setattr("indexer.feed.index_feed.time.time", lambda: clock[0])
    feed = feed_with("a", "b")

    async def save(checkpoint: Checkpoint, _: list[int]) -> None:
        saves.append(checkpoint.shards[0].live)

    monkeypatch.setattr(feed.saved, "_save", save)
    asyncio.run(save_after(feed, clock, positions))
    assert saves == positions == [9, 19]


def test_the_lag_of_an_index_that_is_never_caught_up_is_that_of_its_oldest_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, seen = [1e9], []
    monkeypatch.setattr("indexer.feed.index_feed.time.time", lambda: clock[0])

    async def act(url: str) -> None:
        async with AsyncElasticsearch(url) as es:
            feed = feed_with()
            feed._es = feed.saved._es = es
            feed._queue = RecordedQueue()
            for minute in range(3):
                clock[0] += 60
                feed.lose(list(feed.tasks))
                await feed.step(IndexShards("u", {0: ShardState(global_checkpoint=10 * minute + 9, history="h1")}))
                for task, sent in list(feed.tasks.items()):
                    if sent.after < 10 * minute - 1:
                        feed.note(end(task, EmbedResult(written=10, until=10 * minute - 1)))
                await feed._save_if_moved(IndexShards("u", {0: ShardState(10 * minute + 9, history="h1")}))
                seen.append(feed.checkpoint.pending_since)

    with answering_server(200, {"_seq_no": 1, "_primary_term": 1, "_shards": {"failed": 0}}) as url:
        asyncio.run(act(url))
    assert seen == [1e9 + 60, 1e9 + 120, 1e9 + 180]
