"""Cuts texts into batches that waste little padding and never exceed a memory budget."""

from collections.abc import Sequence


def token_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Positions of `lengths`, longest first, in batches whose padded size (count x longest) is at most `budget`.

    Every position appears once; a text longer than the budget gets a batch to itself. Sorting by length keeps padding
    small; with the longest batch first, a lack of memory shows at once.
    """
    order = sorted(range(len(lengths)), key=lambda position: -lengths[position])
    batches: list[list[int]] = []
    width = 0
    for position in order:
        if not batches or (len(batches[-1]) + 1) * width > budget:
            batches.append([])
            width = max(1, lengths[position])
        batches[-1].append(position)
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
