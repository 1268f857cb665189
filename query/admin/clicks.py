"""`/_esblend/clicks`: applications report clicks on interleaved hits, and `esblend eval --clicks` reads which side wins.

The caller must be allowed to search the clicked document. The log of clicks is esblend's own index; the gateway writes and reads
it with its own credentials, or with the caller's if it has none.
"""

import re
import time
from collections import Counter
from typing import Any

from elasticsearch import AsyncElasticsearch
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from esblend.caller_access import MANAGE, Access
from esblend.endpoint_http import endpoint_response, read_json
from esblend.errors import Forbidden, InvalidRequest, MalformedRequest, TooManyRequests
from esblend.settings import Settings
from mappings.click_log import Click, add_click, count_clicks, drop_clicks, tally_clicks
from query.language.checks import choice, refuse_unknown
from query.language.interleave import EXPERIMENT

_CALLERS_AT_THEIR_LIMIT = 10
"""All callers together may send this many times the limit of one caller."""
_COUNT_SECONDS = 5.0
_SEARCH = re.compile(r"[0-9a-f]{32}")
_MAX_NAME = 512
"""Bytes of an `_id` in Elasticsearch, which also limits names of indices more strictly."""


class ClickLog:
    """The handlers, and the limits of the log: clicks a second by caller, and clicks in the index."""

    def __init__(self, settings: Settings, access: Access) -> None:
        self._access = access
        self._per_second, self._size = settings.clicks_per_second, settings.click_log_size
        self._second, self._by_caller = 0, Counter[str]()
        self._count, self._counted_at = 0, -_COUNT_SECONDS

    def routes(self) -> list[Route]:
        path = "/_esblend/clicks"
        return [
            Route(path, self.post, methods=["POST"]),
            Route(path, self.get, methods=["GET"]),
            Route(path, self.delete, methods=["DELETE"]),
        ]

    async def post(self, request: Request) -> Response:
        """Store one click: 201, or 200 when the same click is stored already."""
        click = parse_click(await read_json(request))
        self._limit_rate(request.headers.get("authorization", ""))
        await _require_document(self._access.as_caller(request), click)
        own = self._access.own(request)
        await self._limit_size(own)
        is_new = await add_click(own, click)
        self._count += is_new
        return endpoint_response(
            {"acknowledged": True, "result": "created" if is_new else "noop"}, status=201 if is_new else 200
        )

    async def get(self, request: Request) -> Response:
        """Each experiment on the indices that `?index=` names and the caller may search."""
        indices = await _searchable(self._access.as_caller(request), _index_of(request))
        tallies = await tally_clicks(self._access.own(request), indices)
        return endpoint_response({"experiments": [vars(tally) for tally in tallies]})

    async def delete(self, request: Request) -> Response:
        """Delete the clicks on the indices that `?index=` names. The caller must be allowed to manage them."""
        name = _index_of(request)
        indices = await _searchable(self._access.as_caller(request), name)
        permitted = await self._access.permitted(request, indices, MANAGE)
        if indices and not permitted:
            raise Forbidden(f"the caller lacks the privilege [{MANAGE}] on index [{name}]")
        return endpoint_response(
            {"acknowledged": True, "deleted": await drop_clicks(self._access.own(request), permitted)}
        )

    def _limit_rate(self, caller: str) -> None:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._by_caller = second, Counter()
        self._by_caller[caller] += 1
        most = self._per_second
        if self._by_caller[caller] > most or self._by_caller.total() > most * _CALLERS_AT_THEIR_LIMIT:
            raise TooManyRequests(f"more than {most} clicks in a second; send this one again later")

    async def _limit_size(self, own_es: AsyncElasticsearch) -> None:
        now = time.monotonic()
        if now - self._counted_at >= _COUNT_SECONDS:
            self._count, self._counted_at = await count_clicks(own_es), now
        if self._count >= self._size:
            raise TooManyRequests(
                f"the log has {self._size} clicks, which is its limit; read it with esblend eval --clicks, then delete the clicks "
                "of an index with DELETE /_esblend/clicks?index=INDEX"
            )


def parse_click(body: Any) -> Click:
    """Raises MalformedRequest or InvalidRequest naming the field at fault."""
    if not isinstance(body, dict):
        raise MalformedRequest('the body must be an object: {"experiment", "search", "_index", "_id", "side"}')
    refuse_unknown(body, {"experiment", "search", "_index", "_id", "side"}, "clicks")
    for key, form in (("experiment", EXPERIMENT), ("search", _SEARCH)):
        if not isinstance(body.get(key), str) or not form.fullmatch(body[key]):
            raise InvalidRequest(f"[clicks.{key}] must be the [{key}] in [esblend.interleave] of the search's response")
    for key in ("_index", "_id"):
        value = body.get(key)
        if not isinstance(value, str) or not 0 < len(value.encode("utf-8", "surrogatepass")) <= _MAX_NAME:
            raise InvalidRequest(f"[clicks.{key}] must be the [{key}] of the clicked hit")
    if choice(body, "side", ("a", "b"), "clicks") is None:
        raise InvalidRequest("[clicks.side] must be the side of the clicked hit: a or b")
    return Click(body["experiment"], body["search"], body["_index"], body["_id"], body["side"])


async def _require_document(es: AsyncElasticsearch, click: Click) -> None:
    """Raises InvalidRequest unless the index has the document, and ApiError when the caller may not search the index."""
    query = {"ids": {"values": [click.document]}}
    response = await es.search(index=click.index, query=query, size=1, source=False, track_total_hits=False)
    # A pattern or an alias finds the document too, but the log is read by the names of concrete indices.
    if not any(hit["_index"] == click.index for hit in response["hits"]["hits"]):
        raise InvalidRequest("[clicks] must name the [_index] and [_id] of a hit; the index has no such document")


async def _searchable(es: AsyncElasticsearch, name: str) -> list[str]:
    """The concrete indices that the caller may search by a name or a pattern. Raises ApiError when no index has the name."""
    aggregation = {"indices": {"terms": {"field": "_index", "size": 1000}}}
    response = await es.search(index=name, size=0, aggs=aggregation, track_total_hits=False)
    # Elasticsearch answers a pattern that matches no index without aggregations.
    return [
        bucket["key"] for bucket in response.get("aggregations", {"indices": {"buckets": []}})["indices"]["buckets"]
    ]


def _index_of(request: Request) -> str:
    name = request.query_params.get("index", "")
    if not name:
        raise InvalidRequest("[index] must name the index of the clicks: ?index=articles")
    return name
