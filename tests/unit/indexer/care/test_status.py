"""What a status says about an index that no feed reads at the moment."""

import time

import pytest

from indexer.care.feed_life import FeedLife
from indexer.care.status import HAND_OVER, _lag, pause
from indexer.feed.checkpoints import Checkpoint
from indexer.feed.leases import Outage


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
