"""What an index's feed makes of finished tasks."""

from elasticsearch import AsyncElasticsearch

from esblend.broker import EmbedResult
from esblend.settings import Settings
from indexer.feed.checkpoints import Checkpoint, ShardCheckpoint
from indexer.feed.index_feed import IndexFeed
from indexer.feed.task_queue import Outcome, TaskQueue


def feed_with(*tasks: str) -> IndexFeed:
    """A feed that has sent ten changes of shard 0 with each of `tasks`."""
    settings = Settings()
    at_start = {0: ShardCheckpoint(live=-1, backfill=-1, backfill_end=-1)}
    checkpoint = Checkpoint(index="articles", uuid="u", generation="g1", shards=at_start)
    feed = IndexFeed(checkpoint, None, AsyncElasticsearch(settings.es_url), TaskQueue(settings), settings)
    for number, task in enumerate(tasks):
        feed._tasks[task] = ("live", 0, 0.0, 10)
        feed._cursors["live"][0].send(10 * number + 9, task)
    return feed


def test_finished_tasks_move_the_checkpoint() -> None:
    feed = feed_with("a", "b")
    for task in ("b", "a"):
        feed.finish(Outcome(task, EmbedResult(written=10)))
    assert not feed.is_busy
    assert feed._position(0).live == 19


def test_what_was_sent_after_a_failed_task_is_sent_again_whatever_became_of_it() -> None:
    feed = feed_with("a", "b", "c")
    feed.finish(Outcome("a", EmbedResult(written=10)))
    feed.finish(Outcome("b", None))
    feed.finish(Outcome("c", EmbedResult(written=10)))
    assert not feed.is_busy
    assert feed._position(0).live == 9
    assert feed._cursors["live"][0].sent == 9
