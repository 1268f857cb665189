"""Decides when a search reaches few enough documents to compare every vector."""

import time
from collections.abc import Sequence
from typing import Any

from esblend.errors import UpstreamError
from query.plan.legs import count_body
from query.run.requests import SearchRequests

_KEEP_SECONDS = 60.0
_KEEP_MOST = 1000


class ExactKnn:
    """Counts documents, up to `most`. That a whole target holds more is remembered for a minute: it saves the question."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._large: dict[tuple[str, ...], float] = {}

    async def count_if_small(self, requests: SearchRequests, filters: Sequence[dict[str, Any]]) -> int | None:
        """How many documents of the search's target pass the filters; None when more than `most`, or not known."""
        if not self.most:
            return None
        place = (requests.caller.key, requests.target, repr(requests.parameters.header), requests.search.pit or "")
        if time.monotonic() - self._large.get(place, float("-inf")) < _KEEP_SECONDS and not filters:
            return None
        try:
            [response] = await requests.ask("count", [count_body(filters, self.most, requests.search)])
        except UpstreamError:
            return None  # the legs get the same error and report it
        count = int(response["hits"]["total"]["value"])
        if count <= self.most and not response.get("terminated_early"):
            return count
        if not filters:
            if len(self._large) >= _KEEP_MOST:
                self._large.clear()
            self._large[place] = time.monotonic()
        return None
