"""What `esblend doctor` says about a finding."""

from indexer.care.doctor import describe_skew


def test_a_clock_that_is_late_is_not_called_ahead_by_a_negative_time() -> None:
    assert describe_skew("es-1", -7.2) == "the clock of node es-1 is 7 s behind the clock of this machine"
    assert describe_skew("es-1", 7.2) == "the clock of node es-1 is 7 s ahead of the clock of this machine"
