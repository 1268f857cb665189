"""A range is complete only when every document of it was read."""

import pytest
from elasticsearch import Elasticsearch

from esblend.broker import RangeTask
from esblend.errors import IndexUnavailable
from tests.answering_server import answering_server
from tests.unit.workers.test_targets import ATTACHMENT
from workers.documents import Target, find_target
from workers.range_reading import RangeReader

TASK = RangeTask(index="articles", uuid="u", generation="g1", shard=0, after=-1, until=99, max_documents=100)


def read(es: Elasticsearch) -> int:
    """Up to where the range is complete."""
    target = Target("articles", "u", ATTACHMENT, "g1", 10_000, 10_000)
    reader = RangeReader(es, target, TASK, 4)
    list(reader.pages())
    return reader.until


def test_a_range_of_a_deleted_index_is_done() -> None:
    with answering_server(404, {"error": {"type": "index_not_found_exception", "reason": "no such index"}}) as url:
        es = Elasticsearch(url)
        assert read(es) == 99
        assert find_target(es, TASK) is None


def test_any_other_404_leaves_the_range_to_do() -> None:
    with answering_server(404, {"error": {"type": "no_route_exception", "reason": "a proxy says so"}}) as url:
        es = Elasticsearch(url)
        with pytest.raises(IndexUnavailable, match="no_route"):
            read(es)
        with pytest.raises(IndexUnavailable, match="no_route"):
            find_target(es, TASK)
