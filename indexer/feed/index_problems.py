"""Reports settings and mappings that came to prevent embedding or search after the attachment: in the log, and as a gauge."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection
from typing import Any

import structlog
from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch

from esblend.metrics import INDEX_PROBLEMS
from indexer.feed import url_lists
from mappings.attachment import Attachment
from mappings.guard import read_guard_pipelines
from mappings.index_lookup import readable_attachment
from mappings.problems import Problem, current_problems

log = structlog.get_logger()
_LOOK_SECONDS = 5.0
_SHARE = 50
"""Looks take at most this part of the time, however often the cluster state changes."""


class IndexProblems:
    """The problems of the indices that this process follows. They are read after changes of the cluster state."""

    def __init__(
        self, es: AsyncElasticsearch, indices: Callable[[], Collection[str]], changes: Callable[[], int]
    ) -> None:
        """`changes`: a number that grows when mappings or settings may have changed."""
        self._es = es
        self._indices = indices
        self._changes = changes
        self._seen: tuple[int, frozenset[str]] = (-1, frozenset())
        self._problems: dict[str, list[Problem]] = {}

    async def keep(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            pause = _LOOK_SECONDS
            try:
                pause = await self.look()
            except (ApiError, TransportError) as error:
                log.warning("problems of indices not read", cause=type(error).__name__)
            except Exception as error:
                log.error("unexpected error of the problems of indices", exc_info=error)
            await asyncio.sleep(pause)

    async def look(self) -> float:
        """Read the problems if they may have changed; returns the seconds until the next look. Raises the errors of Elasticsearch.
        These extend no pause: a request that gets no response takes a minute."""
        present = (self._changes(), frozenset(self._indices()))
        if present == self._seen:
            return _LOOK_SECONDS
        began = time.monotonic()
        await self._read(present[1])
        self._seen = present
        return max(_LOOK_SECONDS, _SHARE * (time.monotonic() - began))

    async def _read(self, indices: frozenset[str]) -> None:
        attached: dict[str, tuple[Attachment, dict[str, Any]]] = {}
        for names in url_lists.portions(sorted(indices)):
            response = await self._es.indices.get(
                index=names, features=["settings", "mappings"], flat_settings=True, ignore_unavailable=True
            )
            for index, body in response.items():
                attachment = readable_attachment(body["mappings"])
                if attachment is not None:
                    attached[index] = (attachment, body)
        pipelines = await read_guard_pipelines(self._es, [attachment for attachment, _ in attached.values()])
        by_index = {
            index: current_problems(index, body["settings"], body["mappings"], attachment, pipelines)
            for index, (attachment, body) in attached.items()
        }
        for index, problems in by_index.items():
            INDEX_PROBLEMS.labels(index).set(len(problems))
            for problem in problems:
                if problem not in self._problems.get(index, []):
                    log.error("index has a problem", index=index, problem=problem.detail, advice=problem.advice)
        for index in self._problems.keys() - by_index.keys():
            with contextlib.suppress(KeyError):
                INDEX_PROBLEMS.remove(index)
        self._problems = by_index
