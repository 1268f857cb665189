"""The positions of an index are values: a new one only where a cursor moved."""

from indexer.feed.checkpoints import ShardCheckpoint
from indexer.feed.positions import Positions
from indexer.feed.shard_changes import ShardState

START = ShardCheckpoint(live=4, backfill=-1, backfill_end=4, history="h1")


def test_an_unchanged_position_is_the_same_object() -> None:
    """So a checkpoint of many shards is compared with the saved one without looking at each number."""
    positions = Positions("articles", {0: START, 1: START})
    before = positions.all()
    assert before == {0: START, 1: START}
    positions.cursors["live"][1].send(9)
    after = positions.all()
    assert after[0] is before[0]
    assert after[1] == ShardCheckpoint(live=9, backfill=-1, backfill_end=4, history="h1")
    assert before[1] == START


def test_the_end_of_a_backfill_and_a_new_history_are_new_positions() -> None:
    positions = Positions("articles", {0: START})
    before = positions.of(0)
    positions.cursors["backfill"][0].send(4)
    positions.end_finished_backfills()
    assert positions.of(0) == ShardCheckpoint(live=4, backfill=4, backfill_end=4, history="h1")
    positions.begin(0, ShardState(global_checkpoint=4, history="h2", committed=2))
    assert positions.of(0) == ShardCheckpoint(live=2, backfill=-1, backfill_end=2, history="h2")
    assert before == START
