"""The indices of a feed share the workers equally."""

from collections import Counter

from esblend.broker import Lane
from indexer.feed.credit import Credit


def fill(credit: Credit, indices: list[str], turns: int = 100) -> Counter[str]:
    """Each index sends in turn as many tasks as it may."""
    for index in indices:
        credit.join(index)
    sent: Counter[str] = Counter()
    for _ in range(turns):
        for index in indices:
            if credit.allows("live", index):
                sent[index] += 1
                credit.set("live", index, sent[index])
    return sent


def test_one_index_gets_all_tasks() -> None:
    assert fill(Credit(workers=10), ["a"]) == {"a": 21}


def test_the_tasks_of_a_thousand_changes_do_not_precede_the_first_of_another_index() -> None:
    credit = Credit(workers=1)
    assert fill(credit, ["a"]).total() <= 4
    assert credit.allows("live", "b")


def test_an_index_gives_up_its_part_when_others_come() -> None:
    credit = Credit(workers=10)
    assert fill(credit, ["a"]) == {"a": 21}
    credit.join("b")
    credit.set("live", "b", 1)
    assert not credit.allows("live", "a")
    credit.set("live", "a", 10)
    assert not credit.allows("live", "a")
    credit.set("live", "a", 9)
    assert credit.allows("live", "a")
    assert credit.allows("live", "b")


def test_many_indices_have_one_task_each() -> None:
    assert set(fill(Credit(workers=3), [f"index {n}" for n in range(100)]).values()) == {1}


def test_several_feeds_share_the_workers() -> None:
    idle: dict[Lane, int] = {"live": 0}
    busy: dict[Lane, int] = {"live": 100, "backfill": 7}
    assert Credit(workers=200).tasks("live") == 401
    assert Credit(workers=200, others=[idle, idle]).tasks("live") == 401
    assert Credit(workers=200, others=[idle, busy]).tasks("live") == 301
    assert Credit(workers=200, others=[busy, busy, busy]).tasks("live") == 101
    assert Credit(workers=200, others=[{"live": 401}]).tasks("live") == 201


def test_many_feeds_do_not_send_more_than_few_workers_take() -> None:
    """The first task of an index would wait behind four tasks of each feed."""
    busy: dict[Lane, int] = {"live": 1}
    assert Credit(workers=10, others=[busy] * 49).tasks("live") == 1
    assert Credit(workers=0, others=[busy] * 49).tasks("live") == 1
    assert Credit(workers=0).tasks("live") == 4


def test_lanes_do_not_wait_for_each_other() -> None:
    credit = Credit(workers=1)
    lane: Lane = "backfill"
    credit.join("a")
    credit.set(lane, "a", 100)
    assert not credit.allows(lane, "a")
    assert credit.allows("live", "a")


def test_an_index_that_nobody_follows_holds_no_part() -> None:
    """Its last step may still run."""
    credit = Credit(workers=1)
    fill(credit, ["a", "b"])
    credit.leave("b")
    credit.set("live", "b", 2)
    assert fill(credit, ["a"]) == {"a": 4}
