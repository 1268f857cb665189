"""The number of processors that this process may use."""

import math
import os
from pathlib import Path


def available_threads(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Processors by affinity and by the container's CPU quota (cgroup v2 `cpu.max`, v1 `cpu.cfs_quota_us`), at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return max(1, min(allowed, math.ceil(quota))) if quota else max(1, allowed)


def _quota(cgroup: Path) -> float | None:
    try:
        if (cgroup / "cpu.max").is_file():
            limit, period = (cgroup / "cpu.max").read_text().split()
            return None if limit == "max" else int(limit) / int(period)
        limit = (cgroup / "cpu/cpu.cfs_quota_us").read_text().strip()
        period = (cgroup / "cpu/cpu.cfs_period_us").read_text().strip()
        return int(limit) / int(period) if int(limit) > 0 else None
    except (OSError, ValueError):
        return None
