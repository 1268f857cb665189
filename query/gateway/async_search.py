"""`_async_search` for fused searches: they run to their end and are answered as a finished asynchronous search."""

import time
from collections.abc import Mapping
from typing import Any

from esblend.errors import InvalidRequest

_OWN_PARAMETERS = frozenset(("wait_for_completion_timeout", "keep_on_completion", "keep_alive"))


def without_own_parameters(given: Mapping[str, str]) -> dict[str, str]:
    """The URL parameters of the enclosed search. Raises InvalidRequest when the response must be stored."""
    if given.get("keep_on_completion", "false") != "false":
        raise InvalidRequest(
            "[keep_on_completion]: a fused search is answered in full and not stored; leave the parameter out"
        )
    return {name: value for name, value in given.items() if name not in _OWN_PARAMETERS}


def finished(response: dict[str, Any]) -> dict[str, Any]:
    """The shape of a search that finished in time. It has no `id`, since nothing is stored."""
    now = int(time.time() * 1000)
    return {
        "is_partial": False, "is_running": False, "start_time_in_millis": now - response.get("took", 0),
        "expiration_time_in_millis": now, "completion_time_in_millis": now, "response": response,
    }  # fmt: skip
