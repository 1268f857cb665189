"""Decides how often a worker makes vectors of live changes visible at once: often while that is cheap."""

import time
from dataclasses import dataclass, field

from workers.documents import Target

_PAUSES = 5
"""Writes that refresh an index take a fifth of the time at most."""
_LONGEST_SECONDS = 1.0
"""The default `refresh_interval`: Elasticsearch itself refreshes the index this often."""


@dataclass
class RefreshPace:
    """The pauses of each index, by its uuid."""

    _due_at: dict[str, float] = field(default_factory=dict)

    def is_due(self, target: Target) -> bool:
        """Whether a write may refresh the index now. Never where the user wants fewer refreshes."""
        return target.refreshes_each_second and time.monotonic() >= self._due_at.get(target.uuid, float("-inf"))

    def note(self, target: Target, *, seconds: float) -> None:
        """Record that a write which refreshed the index took this many seconds."""
        self._due_at[target.uuid] = time.monotonic() + min(_LONGEST_SECONDS, _PAUSES * seconds)
