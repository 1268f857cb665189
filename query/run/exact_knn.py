"""Decides when a search reaches few enough documents to compare every vector."""

import hashlib
import time
from collections.abc import Sequence
from typing import Any

from esblend import exact_json
from esblend.errors import UpstreamError
from query.plan.legs import count_body
from query.run.requests import SearchRequests

_CACHE_SECONDS = 60.0
_CACHE_ENTRIES = 1000


class ExactKnn:
    """Counts documents, up to `most`. For a minute it remembers targets and filters with more, which saves the request."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._large: dict[tuple[str, ...], float] = {}

    async def count_if_small(self, requests: SearchRequests, filters: Sequence[dict[str, Any]]) -> int | None:
        """The number of documents of the search's target that pass the filters; None when more than `most`, or unknown."""
        if not self.most:
            return None
        of_request = [requests.parameters.header, requests.search.common.get("runtime_mappings"), list(filters)]
        digest = hashlib.sha256(exact_json.dumps(of_request)).hexdigest()  # filters may be long
        key = (requests.caller.key, requests.target, digest, requests.search.pit or "")
        if time.monotonic() - self._large.get(key, float("-inf")) < _CACHE_SECONDS:
            return None
        try:
            [response] = await requests.ask("count", [count_body(filters, self.most, requests.search)])
        except UpstreamError:
            return None  # the legs get the same error and report it
        count = int(response["hits"]["total"]["value"])
        if count <= self.most and not response.get("terminated_early"):
            return count
        if len(self._large) >= _CACHE_ENTRIES:
            self._large.clear()
        self._large[key] = time.monotonic()
        return None
