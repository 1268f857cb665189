"""What a status says about an index that no feed reads at the moment."""

import time

import pytest

from indexer.care.feed_life import FeedLife
from indexer.care.status import HAND_OVER, _lag, _shard_groups, pause
from indexer.feed.checkpoints import Checkpoint, ShardCheckpoint
from indexer.feed.leases import Outage
from indexer.feed.shard_changes import IndexShards, ShardState


def checkpoint(owner: str | None = "a", **fields: float) -> Checkpoint:
    return Checkpoint(index="articles", uuid="u", generation="g1", owner=owner).model_copy(update=fields)


WORKS, DEAD = FeedLife(is_alive=True), FeedLife(is_alive=False)
STOPPED = FeedLife(is_alive=False, has_successor=True)
FAILS = FeedLife(is_alive=True, outage=Outage("ConnectionError: refused", time.time() - 50))


@pytest.mark.parametrize(
    ("life", "owner", "reason"),
    [
        (WORKS, "a", None),
        (None, "a", None),
        (STOPPED, "a", HAND_OVER),
        (WORKS, None, HAND_OVER),
        (DEAD, "a", "no feed follows this index"),
        (DEAD, None, "no feed follows this index"),
        (FAILS, "a", "ConnectionError: refused"),
        (FAILS, None, "ConnectionError: refused"),
    ],
)
def test_the_reason_of_a_pause(life: FeedLife | None, owner: str | None, reason: str | None) -> None:
    shown = pause(checkpoint(owner), life)
    assert shown == reason or (reason is not None and reason in str(shown))


@pytest.mark.parametrize("pending", [0, 3])
def test_an_index_that_no_feed_reads_has_no_lag_of_zero(pending: int) -> None:
    assert _lag(pending, checkpoint(), STOPPED) is None
    assert _lag(pending, checkpoint(None), WORKS) is None
    assert (_lag(pending, checkpoint(), FAILS) or 0) >= 50
    assert (_lag(pending, checkpoint(updated_at=time.time() - 70), DEAD) or 0) >= 70
    for life in (STOPPED, DEAD, FAILS):
        assert (_lag(3, checkpoint(pending_since=time.time() - 90), life) or 0) >= 90


def test_an_index_that_a_feed_reads_has_the_lag_of_its_oldest_change() -> None:
    waiting = checkpoint(pending_since=time.time() - 90)
    assert (_lag(3, waiting, WORKS) or 0) >= 90
    assert _lag(0, waiting, WORKS) == 0
    assert _lag(0, checkpoint(), WORKS) == 0


def test_the_shards_without_open_changes_are_counted_together() -> None:
    positions = {
        0: ShardCheckpoint(live=9, backfill=9, backfill_end=9),
        1: ShardCheckpoint(live=7, backfill=7, backfill_end=7),
        2: ShardCheckpoint(live=9, backfill=3, backfill_end=9),
        3: ShardCheckpoint(live=9, backfill=9, backfill_end=9),
        4: ShardCheckpoint(live=9, backfill=9, backfill_end=9),
    }
    states = {shard: ShardState(global_checkpoint=9, highest=9) for shard in positions}
    states[4] = ShardState(global_checkpoint=9, highest=10)  # not every copy has this change
    parts = _shard_groups(checkpoint().model_copy(update={"shards": positions}), IndexShards("u", states))
    assert [part.preference for part in parts] == ["_shards:0,3", "_shards:1", "_shards:2", "_shards:4"]
    assert parts[0].changed == {"match_none": {}}
    assert parts[1].changed["bool"]["should"][0] == {"range": {"_seq_no": {"gt": 7}}}


@pytest.mark.parametrize("live", [7, 9])
def test_a_shard_that_the_feed_has_not_begun_with_is_counted_as_well(live: int) -> None:
    """It had no primary at first."""
    positions = {0: ShardCheckpoint(live=live, backfill=live, backfill_end=live)}
    states = {shard: ShardState(global_checkpoint=9, highest=9) for shard in range(2)}
    parts = _shard_groups(checkpoint().model_copy(update={"shards": positions}), IndexShards("u", states))
    assert [part.preference for part in parts] == ["_shards:0", "_shards:1"]
    assert parts[1].changed == {"match_all": {}}


def test_an_index_without_positions_is_counted_as_a_whole() -> None:
    assert [part.preference for part in _shard_groups(None, None)] == [None]
    assert [part.preference for part in _shard_groups(checkpoint(), IndexShards("u", {0: ShardState(9)}))] == [None]


def test_the_numbers_of_many_shards_fit_into_a_url() -> None:
    done = ShardCheckpoint(live=9, backfill=9, backfill_end=9)
    positions = dict.fromkeys(range(1024), done) | {7: ShardCheckpoint(live=8, backfill=8, backfill_end=8)}
    states = dict.fromkeys(positions, ShardState(global_checkpoint=9, highest=9))
    parts = _shard_groups(checkpoint().model_copy(update={"shards": positions}), IndexShards("u", states))
    assert sorted(shard for part in parts for shard in part.shards or ()) == sorted(positions)
    assert len(parts) == 7
    assert max(len(part.preference or "") for part in parts) < 1500
    settled = checkpoint().model_copy(update={"shards": dict.fromkeys(positions, done)})
    assert [part.preference for part in _shard_groups(settled, IndexShards("u", states))] == [None]
