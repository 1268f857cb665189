"""Waits for a change of the cluster's metadata (mappings, settings, new and deleted indices) without asking again and again.

find the metadata's version -> the caller reads the cluster state -> Elasticsearch answers when a later version exists

Elasticsearch does not return the version, but waits until one is reached: a bisection with waits of a millisecond finds it.
"""

import asyncio
import contextlib
import time
from typing import Any

import structlog
from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch

log = structlog.get_logger()
_WAIT_SECONDS = 20
"""Also a change that the metadata does not show is found after this time. Proxies close connections that are idle for a minute."""
_PATIENCE_SECONDS = 10
_MOMENT = "1ms"
_FAR = 1_000_000
_AGAIN_SECONDS = 60.0
"""After an error. A proxy that does not let a request wait would cause more requests than the wait saves."""
_JSON = {"accept": "application/json"}


class MetadataWatch:
    """One wait at a time. It costs nothing while it lasts, and is only a hint: the caller reads the cluster state afterwards."""

    def __init__(self, es: AsyncElasticsearch) -> None:
        self._es = es.options(request_timeout=_WAIT_SECONDS + _PATIENCE_SECONDS, max_retries=0)
        self._version = 0
        self._wait: asyncio.Task[None] | None = None
        self._is_usable = True
        self._failed_at = float("-inf")

    @property
    def is_waiting(self) -> bool:
        """Whether nothing has changed since `find`, as far as this process knows."""
        return self._wait is not None and not self._wait.done()

    async def find(self) -> bool:
        """Find the present version, before the caller reads the cluster state. Returns whether `start` can wait for a later one."""
        if not self._is_usable or time.monotonic() - self._failed_at < _AGAIN_SECONDS:
            return False
        try:
            self._version = await self._present()
        except (ApiError, TransportError) as error:
            self._fail(error)
            return False
        if not self._version:
            self._is_usable = False
        return self._is_usable

    def start(self) -> None:
        """Wait for a later version than the one that was found."""
        self._wait = asyncio.create_task(self._wait_for(self._version + 1))

    async def stop(self) -> None:
        if self._wait is not None:
            self._wait.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._wait

    async def _wait_for(self, version: int) -> None:
        try:
            await self._is_reached(version, f"{_WAIT_SECONDS}s")
        except (ApiError, TransportError) as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._failed_at = time.monotonic()
        log.info("changes of the metadata not awaited", cause=type(error).__name__, retry_in_seconds=_AGAIN_SECONDS)

    async def _present(self) -> int:
        """The present version; 0 when it cannot be found. It is at most the version of the cluster state."""
        low = self._version if self._version and await self._is_reached(self._version, _MOMENT) else 0
        if low and not await self._is_reached(low + 1, _MOMENT):
            return low
        high = int((await self._state(1, _MOMENT)).get("version", 0))
        if await self._is_reached(high + _FAR, _MOMENT):
            return 0  # this server does not wait
        step = 1  # from a known version, the present one is mostly a few changes away
        while low and low + step < high:
            if not await self._is_reached(low + step, _MOMENT):
                high = low + step - 1
                break
            low, step = low + step, 4 * step
        while low < high:
            middle = (low + high + 1) // 2
            if await self._is_reached(middle, _MOMENT):
                low = middle
            else:
                high = middle - 1
        return low

    async def _is_reached(self, version: int, wait: str) -> bool:
        return not (await self._state(version, wait)).get("wait_for_timed_out", False)

    async def _state(self, version: int, wait: str) -> dict[str, Any]:
        response = await self._es.perform_request(
            "GET",
            "/_cluster/state/version",
            params={"wait_for_metadata_version": version, "wait_for_timeout": wait},
            headers=_JSON,
        )
        return dict(response.body)
