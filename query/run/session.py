"""Runs a fused search.

request tree -> query vectors -> legs in one _msearch (each hit with both true scores, for exact blending) -> fusion
             -> page, totals and aggregations in one _msearch -> hits
"""

import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from elasticsearch import AsyncElasticsearch

from esblend.errors import NoIndices, NotAttached
from esblend.event_loop import off_loop
from mappings.capabilities import Version, knn_query_has_k
from query.language.tree import Hybrid, Search
from query.language.url_parameters import Parameters
from query.page.explanation import explanations
from query.page.interleave_sides import show_sides
from query.page.totals import total_of, totals_as_integers, without_scores
from query.plan.documents import matching_body, parts_of_result
from query.plan.page import candidates_query
from query.run.candidates import MANY_CANDIDATES, RankedCandidates
from query.run.cross_encoder import Reranker
from query.run.elasticsearch import Upstream
from query.run.exact_knn import ExactKnn
from query.run.fetch_page import Hits, counted_by, fetch_page
from query.run.hybrid import HybridSearch
from query.run.interleave import rank_interleaved
from query.run.mean_vectors import MeanVectors
from query.run.query_encoder import QueryEmbedder
from query.run.requests import Caller, SearchRequests, merged_shards, ranked_lists
from query.run.retriever_tree import RetrieverSearch
from query.targets.metadata import Metadata, Requester, indices_of
from query.targets.target import Target


@dataclass(frozen=True)
class Services:
    """The parts of the gateway that a search uses."""

    upstream: Upstream
    client: Callable[[], AsyncElasticsearch]
    """Makes a client with the caller's rights. Most searches find everything in caches and need none."""
    metadata: Metadata
    embedder: QueryEmbedder
    reranker: Reranker
    exact_knn: ExactKnn
    mean_vectors: MeanVectors
    version: Callable[[], Awaitable[Version | None]]
    """The server's version."""


class Session:
    """One search, from its parsed request to its response."""

    def __init__(self, services: Services, caller: Caller, target: str, parameters: Parameters, search: Search) -> None:
        self._services = services
        self._caller = caller
        self._target = target
        self._parameters = parameters
        self._search = search
        self._shared_target: Target | None = None
        self._requests = SearchRequests(services.upstream, caller, target, parameters, search)

    @property
    def headers(self) -> dict[str, str]:
        """Elasticsearch's own headers for the response."""
        return self._requests.headers

    async def run(self) -> dict[str, Any]:
        """The response in Elasticsearch's shape. Raises EsblendError."""
        began = time.monotonic()
        candidates = await self._rank(is_page_enough=True)
        candidates = await self._post_filter(candidates)
        hits, counts = await fetch_page(self._requests, candidates)
        return self._response(candidates, hits, counts, began)

    async def candidates_as_query(self) -> dict[str, Any]:
        """The content of a `bool` query that matches what the search matches and gives candidates their fused scores."""
        candidates = await self._rank()
        scores = {hit.key: hit.score for hit in candidates.fused}
        counted = counted_by(self._search, candidates)
        return await off_loop(len(scores) > MANY_CANDIDATES, candidates_query, counted, scores)

    @property
    def degraded(self) -> list[str]:
        """Failed legs and the reasons."""
        return self._requests.degraded

    async def _rank(self, *, is_page_enough: bool = False) -> RankedCandidates:
        search, services = self._search, self._services
        if isinstance(search.ranking, Hybrid):
            interleave = search.ranking.interleave
            if interleave is not None:
                return await rank_interleaved(self._requests, search.ranking, interleave, self._rank_hybrid)
            return await self._rank_hybrid(self._requests, search.ranking, is_page_enough=is_page_enough)
        tree = RetrieverSearch(
            self._requests,
            services.embedder,
            services.reranker,
            self._single_target,
            self._attached_targets,
            self._report_unattached,
            services.version,
            is_page_enough=is_page_enough,
        )
        try:
            return await tree.run(search.ranking, search.start + search.size)
        except NoIndices:
            return RankedCandidates(fused=[], match_queries=[], nearest=[])

    async def _rank_hybrid(
        self, requests: SearchRequests, hybrid: Hybrid, *, is_page_enough: bool = False
    ) -> RankedCandidates:
        services = self._services
        targets = await self._targets(hybrid.generation)
        if not targets:
            return RankedCandidates(fused=[], match_queries=[], nearest=[])
        is_page_enough = is_page_enough and knn_query_has_k(await services.version())
        search = HybridSearch(
            requests,
            services.embedder,
            services.reranker,
            services.exact_knn,
            services.mean_vectors,
            self._requester(),
            is_page_enough,
        )
        return await search.run(hybrid, targets)

    async def _post_filter(self, candidates: RankedCandidates) -> RankedCandidates:
        query, fused = self._search.post_filter, candidates.fused
        if query is None or not fused:
            return candidates
        keys = parts_of_result([hit.key for hit in fused])
        responses = await self._requests.ask("post_filter", [matching_body(part, query, self._search) for part in keys])
        passing = {key for scores in await ranked_lists(responses) for key in scores}
        outside = tuple(hit for hit in fused if hit.key not in passing)
        return replace(candidates, fused=[hit for hit in fused if hit.key in passing], outside_post_filter=outside)

    def _response(
        self, candidates: RankedCandidates, hits: Hits, counts: dict[str, Any], began: float
    ) -> dict[str, Any]:
        search, requests = self._search, self._requests
        fused = candidates.fused
        extras = self._extras(candidates, hits)
        if search.shows_no_ids:
            hits = [{key: value for key, value in hit.items() if key != "_id"} for hit in hits]
        total = total_of(counts, search)
        as_int = self._parameters.response.get("rest_total_hits_as_int", "false") in ("", "true")
        body: dict[str, Any] = {} if requests.pit_id is None else {"pit_id": requests.pit_id}
        body |= {
            "took": int((time.monotonic() - began) * 1000),
            "timed_out": requests.timed_out,
            "_shards": merged_shards(counts["_shards"], requests.failed_shards),
            "hits": {
                **({} if total is None else {"total": total}),
                "max_score": fused[0].score if search.size and fused else None,
                "hits": hits,
            },
        }
        body |= {key: counts[key] for key in ("aggregations", "suggest") if key in counts}
        if as_int:
            totals_as_integers(body)
            body["hits"].setdefault("total", -1)  # as from Elasticsearch, where the total is not tracked
        if search.needs_elasticsearch_sort and not search.track_scores and search.sort:
            without_scores(body)
        if search.profile:
            body["profile"] = {"shards": requests.shards}
        return {**body, "esblend": extras} if extras else body

    def _extras(self, candidates: RankedCandidates, hits: Hits) -> dict[str, Any]:
        extras: dict[str, Any] = {}
        interleave = self._search.ranking.interleave if isinstance(self._search.ranking, Hybrid) else None
        if interleave is not None:
            sides = show_sides(hits, candidates.picks, explain=self._search.explain)
            # Clicks on a ranking that lost a leg say nothing about the configurations.
            if not self._requests.degraded:
                search = uuid.uuid4().hex
                extras["interleave"] = {"experiment": interleave.experiment, "search": search, "sides": sides}
        if self._requests.degraded:
            extras["degraded"] = self._requests.degraded
        if self._search.explain:
            extras["explanations"] = explanations(
                hits, [pick.hit for pick in candidates.picks.values()] or candidates.fused
            )
        if self._search.profile:
            extras["profile"] = {"steps": self._requests.steps, "plan": self._requests.plan}
        return extras

    async def _searched_name(self) -> str:
        """The request's target, or the indices of its point in time."""
        if self._search.pit is None:
            return self._target or "*"
        return await indices_of(self._services.client(), self._search.common["pit"]) or "-*"

    async def _targets(self, generation: str | None) -> list[Target]:
        targets = await self._services.metadata.targets(self._requester(), await self._searched_name())
        self._report_unattached(*targets)
        return [target.using(generation) for target in targets] if generation is not None else targets

    async def _single_target(self) -> Target:
        """Read once per search, so that all legs use the same generation even while another becomes active."""
        if self._shared_target is None:
            name = await self._searched_name()
            self._shared_target = await self._services.metadata.target(self._requester(), name)
            self._report_unattached(self._shared_target)
        return self._shared_target

    async def _attached_targets(self) -> list[Target]:
        """As `_targets`, and none where no index is attached."""
        try:
            return await self._services.metadata.targets(self._requester(), await self._searched_name())
        except NotAttached:
            return []

    def _report_unattached(self, *targets: Target) -> None:
        unattached = [index for target in targets for index in target.unattached]
        if unattached:
            names = ", ".join(unattached[:5])
            reason = f"index [{names}] is not attached, so only BM25 finds its documents"
            if f"semantic: {reason}" not in self._requests.degraded:  # both sides of an interleaved search report it
                self._requests.degrade("semantic", reason)

    def _requester(self) -> Requester:
        return Requester(
            self._services.client,
            self._caller.key,
            already_authorised=self._search.pit is not None,
            options=self._parameters.header,
        )
