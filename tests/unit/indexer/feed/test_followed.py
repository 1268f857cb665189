"""Which of the followed indices need a step."""

import pytest
from elasticsearch import AsyncElasticsearch

from esblend.settings import Settings
from indexer.feed.checkpoints import Checkpoint
from indexer.feed.credit import Credit
from indexer.feed.followed import Followed
from indexer.feed.index_feed import IndexFeed
from indexer.feed.task_queue import TaskQueue


async def no_reports() -> None:
    """No worker reports anything."""


@pytest.fixture
def followed() -> Followed:
    """Two generations of one index, and one of another."""
    made, settings = Followed(keep_seconds=0), Settings()
    es, queue = AsyncElasticsearch(settings.es_url), TaskQueue(settings)
    for index, generation in (("articles", "g1"), ("articles", "g2"), ("books", "g1")):
        checkpoint = Checkpoint(index=index, uuid=index, generation=generation)
        made.add(checkpoint.id, IndexFeed(checkpoint, None, es, queue, settings, Credit(), no_reports))
    return made


def test_every_generation_of_an_index_is_due(followed: Followed) -> None:
    followed.make_due(["articles", "unknown"])
    assert followed.due == {"articles-g1", "articles-g2"}
    assert followed.indices == {"articles", "books"}


def test_an_index_is_followed_until_its_last_generation_is_removed(followed: Followed) -> None:
    followed.make_due(["articles"])
    followed.remove("articles-g1")
    assert followed.indices == {"articles", "books"}
    assert followed.due == {"articles-g2"}
    followed.remove("articles-g2")
    assert followed.indices == followed.active_indices == {"books"}


def test_an_index_remains_active_for_a_while_after_its_work(followed: Followed) -> None:
    following = Followed(keep_seconds=3600)
    following.add("books-g1", followed.feeds["books-g1"])
    following.add("articles-g1", followed.feeds["articles-g1"])
    following.settle("books-g1")  # it has work
    for key, feed in following.feeds.items():
        feed.is_missing = True
        following.settle(key)
    assert following.active_indices == {"books"}


def test_of_many_indices_none_remains_active_without_work(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexer.feed.followed._KEPT_AT_MOST", 1)
    following = Followed(keep_seconds=3600)
    for key in ("books-g1", "articles-g1"):
        following.add(key, followed.feeds[key])
        following.settle(key)  # it has work
        following.feeds[key].is_missing = True
    following.settle("books-g1")
    assert following.active == {"articles-g1"}
    following.settle("articles-g1")
    assert following.active == {"articles-g1"}


def test_an_index_is_active_until_it_is_at_rest(followed: Followed) -> None:
    followed.settle("books-g1")
    assert followed.active_indices == {"articles", "books"}
    followed.feeds["books-g1"].is_missing = True
    followed.settle("books-g1")
    assert followed.active_indices == {"articles"}
    followed.feeds["books-g1"].is_missing = False
    followed.settle("books-g1")
    assert followed.active_indices == {"articles", "books"}
