"""A measurement on fewer documents, to try it: `BENCH_SCALE=0.1`. Its results are printed and not stored."""

import os

SCALE = float(os.environ.get("BENCH_SCALE", "1"))


def scaled(count: int) -> int:
    return max(1, round(count * SCALE))
