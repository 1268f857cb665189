"""How a page of documents is cut into portions."""

import pytest

from esblend.broker import LANES, queue_name
from mappings.source import SourceText
from workers.documents import Document
from workers.embed import page_size
from workers.portion_writes import Portion
from workers.portions import PortionSize, cut
from workers.worker import _lane


def page(lengths: list[int], missing: tuple[int, ...] = ()) -> Portion:
    documents = [
        Document(str(number), None, number, 1, 1, SourceText("x" * length, ""), "f", None, None, 0)
        for number, length in enumerate(lengths)
    ]
    requested = [document.key for document in documents]
    return Portion(requested, [d for d in documents if int(d.id) not in missing], 0.0, False, until=99)


def test_portions_have_every_document_once_and_end_where_the_next_begins() -> None:
    whole = page([40, 40, 40, 200, 10, 10], missing=(1,))
    portions = list(cut(whole, 100, [3, 4, 7, 9, 10, 12]))
    assert [[int(id_) for id_, _ in portion.requested] for portion in portions] == [[0, 1, 2], [3], [4, 5]]
    assert [document for portion in portions for document in portion.documents] == whole.documents
    assert [portion.until for portion in portions] == [7, 9, 99]


def test_no_portion_ends_between_documents_with_one_number() -> None:
    portions = list(cut(page([90] * 6), 100, [3, 3, 3, 4, 5, 5]))
    assert [len(portion.requested) for portion in portions] == [3, 1, 2]
    assert [portion.until for portion in portions] == [3, 4, 99]


def test_no_portion_is_much_smaller_than_the_others() -> None:
    assert [len(portion.requested) for portion in cut(page([10] * 12), 100)] == [12]
    assert [len(portion.requested) for portion in cut(page([10] * 22), 100)] == [11, 11]
    assert [len(portion.requested) for portion in cut(page([9, 12] * 11), 100)] == [11, 11]


def test_an_empty_page_is_one_portion() -> None:
    assert [(portion.requested, portion.until) for portion in cut(page([]), 100, [])] == [([], 99)]


def test_portions_are_shorter_while_live_changes_arrive() -> None:
    size = PortionSize()
    for _ in range(10):
        size.learn("m", characters=50_000, seconds=1.0)
    before = size.characters("m")
    size.note_live()
    assert before == 30_000
    assert size.characters("m") == 10_000


def test_cached_vectors_do_not_make_the_next_portion_endless() -> None:
    size = PortionSize()
    size.learn("m", characters=8_000, seconds=0.001)
    assert size.characters("m") == 16_000


def test_the_lane_is_that_of_the_queue() -> None:
    assert [_lane({"exchange": "esblend", "routing_key": queue_name(lane)}) for lane in LANES] == list(LANES)
    assert _lane({"routing_key": "another"}) is _lane(None) is None


@pytest.mark.parametrize(("documents", "page"), [(10, 32), (256, 32), (800, 100), (4000, 125)])
def test_a_page_is_an_eighth_of_a_task_within_limits(documents: int, page: int) -> None:
    """Of a few texts, little can be sorted by length. Many long texts need memory."""
    assert page_size(documents) == page
