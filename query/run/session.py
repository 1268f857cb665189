"""Runs a fused search: rank by the short form or by a tree of retrievers, then fetch and dress the page.

request tree -> vectors -> _msearch of the legs [-> exact scores of every candidate] -> fusion -> page and totals
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from elasticsearch import AsyncElasticsearch

from mappings.attachment import Attachment
from query.fusion.ranked_lists import FusedHit, Key
from query.language.tree import Hybrid, Search
from query.language.url_parameters import Parameters
from query.page.hits import (
    add_cursors,
    after_cursor,
    arranged_after,
    explanation,
    find_passages,
    highlight_passages,
    nearness_of,
    places_of,
    show_arranged,
    show_hits,
    show_whole_texts,
    total_of,
)
from query.plan.bodies import arranged_body, matching_body, page_body, source_body, totals_body
from query.run.cross_encoder import Reranker
from query.run.elasticsearch import Upstream
from query.run.exact_knn import ExactKnn
from query.run.hybrid import HybridSearch
from query.run.query_encoder import QueryEmbedder
from query.run.requests import Caller, SearchRequests, scores_of
from query.run.retriever_tree import RankedCandidates, RetrieverSearch
from query.targets.metadata import Metadata, Requester, Target, indices_of


@dataclass(frozen=True)
class Services:
    """What a search needs beside its request. `es` has the caller's rights."""

    upstream: Upstream
    es: AsyncElasticsearch
    metadata: Metadata
    embedder: QueryEmbedder
    reranker: Reranker
    exact_knn: ExactKnn


class Session:
    """One search on its way through its steps."""

    def __init__(self, services: Services, caller: Caller, target: str, parameters: Parameters, search: Search) -> None:
        self._services = services
        self._caller = caller
        self._target = target
        self._parameters = parameters
        self._search = search
        self._found: Target | None = None
        self._requests = SearchRequests(services.upstream, caller, target, parameters, search)

    @property
    def headers(self) -> dict[str, str]:
        """Elasticsearch's own headers for the answer."""
        return self._requests.headers

    async def run(self) -> dict[str, Any]:
        """The response in Elasticsearch's shape. Raises EsblendError."""
        began = time.monotonic()
        search = self._search
        ranking = await self._ranked()
        if search.post_filter is not None and ranking.fused:
            ranking = await self._post_filtered(ranking, search.post_filter)
        hits, counted = await (self._arranged(ranking) if search.needs_elasticsearch_sort else self._page(ranking))
        body: dict[str, Any] = {
            "took": int((time.monotonic() - began) * 1000),
            "timed_out": self._requests.timed_out,
            "_shards": counted["_shards"],
            "hits": {"max_score": ranking.fused[0].score if ranking.fused else None, "hits": hits},
        }
        if self._requests.pit_id is not None:
            body = {"pit_id": self._requests.pit_id, **body}
        total = total_of(counted, search, ranking.fused)
        if total is not None and self._parameters.response.get("rest_total_hits_as_int", "false") in ("", "true"):
            body["hits"] = {"total": total["value"], **body["hits"]}
        elif total is not None:
            body["hits"] = {"total": total, **body["hits"]}
        body |= {key: counted[key] for key in ("aggregations", "suggest") if key in counted}
        if search.profile:
            body["profile"] = {"shards": self._requests.shards}
        extras = self._extras()
        return {**body, "esblend": extras} if extras else body

    def _extras(self) -> dict[str, Any]:
        extras: dict[str, Any] = {}
        if self._requests.degraded:
            extras["degraded"] = self._requests.degraded
        if self._search.profile:
            extras["profile"] = {"steps": self._requests.steps, "plan": self._requests.plan}
        return extras

    async def _ranked(self) -> RankedCandidates:
        search, services = self._search, self._services
        if isinstance(search.ranking, Hybrid):
            targets = await self._targets()
            if not targets:
                return RankedCandidates(fused=[], match_queries=[], nearest=[])
            by_form = HybridSearch(self._requests, services.embedder, services.reranker, services.exact_knn)
            return await by_form.run(search.ranking, targets)
        by_tree = RetrieverSearch(self._requests, services.embedder, services.reranker, self._one_target, [])
        return await by_tree.run(search.ranking, search.start + search.size)

    async def _post_filtered(self, ranking: RankedCandidates, query: dict[str, Any]) -> RankedCandidates:
        [response] = await self._requests.ask(
            "post_filter", [matching_body([one.key for one in ranking.fused], query, self._search)]
        )
        left = scores_of(response)
        return replace(ranking, fused=[one for one in ranking.fused if one.key in left])

    async def _page(self, ranking: RankedCandidates) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The hits of the page in fused order, and the response that counts."""
        search = self._search
        first = after_cursor(ranking.fused, search.search_after) if search.search_after else search.start
        page = ranking.fused[first : first + search.size]
        keys = [one.key for one in page]
        wants_passages = isinstance(search.ranking, Hybrid) and search.ranking.inner_hits
        shows = ranking.passages if wants_passages else None
        bodies = []
        is_counted = bool(keys) and ranking.total is not None and not search.counts_more
        if not is_counted:
            bodies.append(totals_body(ranking.match_queries, ranking.nearest, search))
        if keys:
            bodies.append(page_body(keys, search, ranking.match_queries, shows))
        if keys and wants_passages and ranking.attachment is not None:
            bodies.append(source_body(keys, ranking.attachment.source_fields, search))
        responses = await self._requests.ask("page", bodies)
        counted = {**responses[0], "hits": {"total": ranking.total}} if is_counted else responses.pop(0)
        hits = show_hits(page, responses[0]) if keys else []
        if len(responses) > 1 and ranking.attachment is not None:
            self._show_passages(ranking, hits, responses[1], ranking.attachment)
        await self._highlight_passages(ranking, hits)
        if search.sort:
            add_cursors(hits)
        self._explain(hits, page)
        return hits, counted

    def _show_passages(
        self, ranking: RankedCandidates, hits: list[dict[str, Any]], sources: dict[str, Any], attachment: Attachment
    ) -> None:
        if attachment.is_nested:
            find_passages(hits, sources, attachment)
        else:
            show_whole_texts(hits, sources, attachment, nearness_of(ranking.fused))

    async def _arranged(self, ranking: RankedCandidates) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The page as Elasticsearch sorts and collapses the candidates, with their fused scores."""
        search = self._search
        places = places_of(ranking.fused)
        bodies = [totals_body(ranking.match_queries, ranking.nearest, search)]
        if ranking.fused:
            bodies.append(arranged_body(places, arranged_after(search, ranking.fused), ranking.match_queries))
        responses = await self._requests.ask("page", bodies)
        hits = responses[1]["hits"]["hits"] if ranking.fused else []
        by_key = {one.key: one for one in ranking.fused}
        show_arranged(hits, by_key, search)
        self._explain(hits, [by_key[Key(hit["_index"], hit["_id"])] for hit in hits])
        return hits, responses[0]

    async def _highlight_passages(self, ranking: RankedCandidates, hits: Sequence[dict[str, Any]]) -> None:
        """A hit that only its vector found has no word to highlight: its best passage stands there."""
        bare = [hit for hit in hits if not hit.get("highlight")]
        if "highlight" not in self._search.page or not bare or ranking.attachment is None:
            return
        keys = [Key(hit["_index"], hit["_id"]) for hit in bare]
        plain = replace(self._search, page={"_source": False})
        bodies = [
            page_body(keys, plain, [], ranking.passages),
            source_body(keys, ranking.attachment.source_fields, plain),
        ]
        found, sources = await self._requests.ask("best passages", bodies)
        self._show_passages(ranking, found["hits"]["hits"], sources, ranking.attachment)
        highlight_passages(bare, found["hits"]["hits"], self._search.page["highlight"], ranking.attachment)

    def _explain(self, hits: Sequence[dict[str, Any]], fused: Sequence[FusedHit]) -> None:
        if not self._search.explain:
            return
        ranking = self._search.ranking
        combination = str(getattr(ranking, "combination", "sum"))
        by_key = {one.key: one for one in fused}
        for hit in hits:
            hit["_explanation"] = explanation(by_key[Key(hit["_index"], hit["_id"])], combination)

    async def _name(self) -> str:
        """What is searched: the request's target, or the indices of its point in time."""
        if self._search.pit is None:
            return self._target or "*"
        return await indices_of(self._services.es, self._search.common["pit"]) or "-*"

    async def _targets(self) -> list[Target]:
        found = await self._services.metadata.targets(self._reader(), await self._name())
        generation = getattr(self._search.ranking, "generation", None)
        return [one.using(generation) for one in found] if generation is not None else found

    async def _one_target(self) -> Target:
        """Asked once for a search: all its legs use the same generation, also while another becomes the active one."""
        if self._found is None:
            self._found = await self._services.metadata.target(self._reader(), await self._name())
        return self._found

    def _reader(self) -> Requester:
        return Requester(
            self._services.es,
            self._caller.key,
            already_authorised=self._search.pit is not None,
            options=self._parameters.header,
        )
