"""Cuts texts into batches that waste little padding and never exceed a memory budget."""

from collections.abc import Sequence

SMALLEST_SHARE = 256
"""Word pieces: even shares make no batch smaller than this."""


def token_batches(
    lengths: Sequence[int], budget: int, *, streams: int = 1, padding: int | None = None
) -> list[list[int]]:
    """Positions of `lengths`, longest first, in batches whose padded size (count x longest) is at most `budget`.

    Every position appears once; a text longer than the budget gets a batch to itself. Sorting by length keeps padding
    small; with the longest batch first, a lack of memory shows at once. `padding` is the most that a batch is padded in all; None
    does not limit it. Several `streams` take the next batch whenever they are idle. Then the budget is halved until a batch is at
    most its share of the rest, so that all of them end at about the same time (guided self-scheduling, Polychronopoulos and Kuck,
    IEEE Transactions on Computers, 1987). Halving keeps the number of different shapes small.
    """
    batches: list[list[int]] = []
    width, used, most, rest = 0, 0, budget, sum(lengths)
    for position in sorted(range(len(lengths)), key=lambda position: -lengths[position]):
        size = (len(batches[-1]) + 1) * width if batches else 0
        used += lengths[position]
        if not batches or size > most or (padding is not None and size - used > padding):
            batches.append([])
            width, used = max(1, lengths[position]), lengths[position]
            most = budget
            while streams > 1 and most > max(SMALLEST_SHARE, rest // (2 * streams)):
                most //= 2
        batches[-1].append(position)
        rest -= lengths[position]
    return batches


def packed_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Positions of `lengths`, longest first, in batches whose lengths add up to at most `budget`.

    Every position appears once; a text longer than the budget gets a batch to itself.
    """
    batches: list[list[int]] = []
    used = 0
    for position in sorted(range(len(lengths)), key=lambda position: -lengths[position]):
        if not batches or used + lengths[position] > budget:
            batches.append([])
            used = 0
        batches[-1].append(position)
        used += lengths[position]
    return batches


def equal_length_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """As `token_batches`, in batches of one length each, which need no padding."""
    batches: list[list[int]] = []
    for position in sorted(range(len(lengths)), key=lambda position: -lengths[position]):
        last = batches[-1] if batches else []
        if not last or lengths[last[0]] != lengths[position] or (len(last) + 1) * lengths[position] > budget:
            batches.append([])
        batches[-1].append(position)
    return batches
