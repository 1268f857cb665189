"""What the feed of an index makes of finished tasks and of shard stats."""

import asyncio

import pytest
from elasticsearch import AsyncElasticsearch

from esblend.broker import EmbedResult
from esblend.settings import Settings
from indexer.feed.checkpoints import Checkpoint, ShardCheckpoint
from indexer.feed.index_feed import IndexFeed
from indexer.feed.lost_tasks import SentTask
from indexer.feed.shard_changes import IndexShards, ShardState
from indexer.feed.task_queue import Outcome, TaskQueue


def feed_with(*tasks: str, history: str | None = "h1") -> IndexFeed:
    """A feed that has sent ten changes of shard 0 with each of `tasks`."""
    settings = Settings()
    at_start = {0: ShardCheckpoint(live=-1, backfill=-1, backfill_end=-1, history=history)}
    checkpoint = Checkpoint(index="articles", uuid="u", generation="g1", shards=at_start)
    feed = IndexFeed(checkpoint, None, AsyncElasticsearch(settings.es_url), TaskQueue(settings), settings)
    for number, task in enumerate(tasks):
        feed.tasks[task] = SentTask("live", 0, 10 * number - 1, 10 * number + 9, 10, 0.0)
        feed.cursors["live"][0].send(10 * number + 9, task)
    return feed


def test_finished_tasks_move_the_checkpoint() -> None:
    feed = feed_with("a", "b")
    for task, until in (("b", 19), ("a", 9)):
        feed.finish(Outcome(task, EmbedResult(written=10, until=until)))
    assert not feed.is_busy
    assert feed.position(0).live == 19


def test_only_a_failed_task_is_sent_again() -> None:
    feed = feed_with("a", "b", "c")
    feed.finish(Outcome("a", EmbedResult(written=10, until=9)))
    feed.finish(Outcome("b", None))
    feed.finish(Outcome("c", EmbedResult(written=10, until=29)))
    assert not feed.is_busy
    assert feed.position(0).live == 9
    [span] = feed.cursors["live"][0].unsent
    assert (span.after, span.until) == (9, 19)
    assert "failed" in (feed.checkpoint.paused_because or "")


@pytest.mark.parametrize("result", [EmbedResult(written=10), EmbedResult(written=10, until=-1)])
def test_a_result_that_does_not_say_how_far_it_came_is_a_failure(result: EmbedResult) -> None:
    feed = feed_with("a")
    feed.finish(Outcome("a", result))
    assert feed.position(0).live == -1
    assert [(span.after, span.until) for span in feed.cursors["live"][0].unsent] == [(-1, 9)]
    assert "failed" in (feed.checkpoint.paused_because or "")


def test_a_task_that_stopped_early_is_done_up_to_there() -> None:
    feed = feed_with("a")
    feed.finish(Outcome("a", EmbedResult(written=10, until=4)))
    assert feed.position(0).live == 4
    assert feed.checkpoint.paused_because is None


def test_a_shard_with_a_new_history_is_read_again_by_the_backfill() -> None:
    feed = feed_with("a", "b")
    feed._begin_history(0, ShardState(global_checkpoint=30, history="h2", committed=12))
    assert feed.position(0) == ShardCheckpoint(live=12, backfill=-1, backfill_end=12, history="h2")
    assert not feed.is_busy


def test_a_shard_of_the_same_history_keeps_its_position() -> None:
    feed = feed_with("a")
    feed._begin_history(0, ShardState(global_checkpoint=30, history="h1", committed=12))
    assert feed.tasks.keys() == {"a"}
    assert feed.position(0).history == "h1"


def test_a_checkpoint_without_a_history_adopts_the_present_one() -> None:
    feed = feed_with("a", history=None)
    feed._begin_history(0, ShardState(global_checkpoint=30, history="h1", committed=12))
    assert feed.tasks.keys() == {"a"}
    assert feed.position(0).history == "h1"


async def save_after(feed: IndexFeed, clock: list[float], saved: list[int]) -> None:
    """Two completed tasks; the wall clock is an hour earlier at the second."""
    shards = IndexShards("u", {0: ShardState(global_checkpoint=100, history="h1")})
    for task, until in (("a", 9), ("b", 19)):
        feed.finish(Outcome(task, EmbedResult(written=10, until=until)))
        feed._saved = (feed._saved[0] - 2, feed._saved[1])  # two seconds pass
        await feed._save_if_moved(shards)
        saved.append(feed.position(0).live)
        clock[0] -= 3600


def test_checkpoints_are_saved_after_the_clock_steps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, saves, positions = [1e9], [], []
    monkeypatch.setattr("indexer.feed.index_feed.time.time", lambda: clock[0])
    feed = feed_with("a", "b")

    async def save() -> None:
        saves.append(feed.checkpoint.shards[0].live)

    monkeypatch.setattr(feed, "save", save)
    asyncio.run(save_after(feed, clock, positions))
    assert saves == positions == [9, 19]
