"""`_async_search` of fused searches: answered when they are done, in the shape that Elasticsearch gives a finished one."""

import time
from collections.abc import Mapping
from typing import Any

from esblend.errors import InvalidRequest

ENDPOINT = "_async_search"
_OWN_PARAMETERS = frozenset(("wait_for_completion_timeout", "keep_on_completion", "keep_alive"))


def without_own_parameters(given: Mapping[str, str]) -> dict[str, str]:
    """The URL parameters of the search inside. Raises InvalidRequest when the answer is to be kept."""
    if given.get("keep_on_completion", "false") != "false":
        raise InvalidRequest("[keep_on_completion]: a fused search is answered at once and not kept; leave it out")
    return {name: value for name, value in given.items() if name not in _OWN_PARAMETERS}


def finished(response: dict[str, Any]) -> dict[str, Any]:
    """Without an `id`, as Elasticsearch answers what was done in time: there is nothing to ask for later."""
    now = int(time.time() * 1000)
    return {
        "is_partial": False, "is_running": False, "start_time_in_millis": now - response.get("took", 0),
        "expiration_time_in_millis": now, "completion_time_in_millis": now, "response": response,
    }  # fmt: skip
