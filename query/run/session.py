"""Runs a fused search.

request tree -> query vectors -> legs in one _msearch (each hit with both true scores, for exact blending) -> fusion
             -> page, totals and aggregations in one _msearch -> hits
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from elasticsearch import AsyncElasticsearch

from query.fusion.ranked_lists import FusedHit
from query.language.tree import Hybrid, Search
from query.language.url_parameters import Parameters
from query.page.cursors import add_cursors, after_cursor, after_position, positions_of
from query.page.explanation import explanation
from query.page.hits import fused_page, in_order_of, key_of, show_fused_scores, with_ties
from query.page.passages import add_passage_texts, highlight_passages, semantic_scores
from query.page.totals import total_of, totals_as_integers
from query.plan.documents import matching_body, source_body
from query.plan.page import counted_query, page_body, sorted_page_body, tied_page_body, totals_body
from query.run.candidates import RankedCandidates
from query.run.cross_encoder import Reranker
from query.run.elasticsearch import Upstream
from query.run.exact_knn import ExactKnn
from query.run.hybrid import HybridSearch
from query.run.mean_vectors import MeanVectors
from query.run.query_encoder import QueryEmbedder
from query.run.requests import Caller, SearchRequests, merged_shards, scores_of
from query.run.retriever_tree import RetrieverSearch
from query.targets.metadata import Metadata, Requester, Target, indices_of

Hits = list[dict[str, Any]]


@dataclass(frozen=True)
class Services:
    """The parts of the gateway that a search uses. `es` has the caller's rights."""

    upstream: Upstream
    es: AsyncElasticsearch
    metadata: Metadata
    embedder: QueryEmbedder
    reranker: Reranker
    exact_knn: ExactKnn
    mean_vectors: MeanVectors


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
        candidates = await self._rank()
        candidates = await self._post_filter(candidates)
        if self._search.needs_elasticsearch_sort:
            hits, counts = await self._sorted_page(candidates)
        else:
            hits, counts = await self._fused_page(candidates)
        return self._response(candidates, hits, counts, began)

    async def _rank(self) -> RankedCandidates:
        search, services = self._search, self._services
        if isinstance(search.ranking, Hybrid):
            targets = await self._targets()
            if not targets:
                return RankedCandidates(fused=[], match_queries=[], nearest=[])
            hybrid = HybridSearch(
                self._requests,
                services.embedder,
                services.reranker,
                services.exact_knn,
                services.mean_vectors,
                self._requester(),
            )
            return await hybrid.run(search.ranking, targets)
        tree = RetrieverSearch(self._requests, services.embedder, services.reranker, self._single_target)
        return await tree.run(search.ranking, search.start + search.size)

    async def _post_filter(self, candidates: RankedCandidates) -> RankedCandidates:
        query, fused = self._search.post_filter, candidates.fused
        if query is None or not fused:
            return candidates
        [response] = await self._requests.ask(
            "post_filter", [matching_body([hit.key for hit in fused], query, self._search)]
        )
        passing = scores_of(response)
        return replace(candidates, fused=[hit for hit in fused if hit.key in passing])

    async def _fused_page(self, candidates: RankedCandidates) -> tuple[Hits, dict[str, Any]]:
        """The hits of the page in fused order, and the response with the counts."""
        search, attachment = self._search, candidates.attachment
        first = after_cursor(candidates.fused, search.search_after) if search.search_after else search.start
        page = candidates.fused[first : first + search.size]
        keys = [hit.key for hit in page]
        ties = with_ties(candidates.fused, first, first + len(page)) if not search.sort else None
        wants_passages = isinstance(search.ranking, Hybrid) and search.ranking.inner_hits
        bodies = []
        known_total = candidates.total
        if self._counts_candidates_only(candidates):
            known_total = {"value": len(candidates.fused), "relation": "eq"}
        is_counted = bool(keys) and known_total is not None and not search.counts_more
        if not is_counted:
            bodies.append(self._totals_body(candidates))
        if keys and ties is not None and not wants_passages:
            bodies.append(
                tied_page_body(
                    positions_of(ties.hits), search, candidates.match_queries, candidates.shown, skip=ties.skip
                )
            )
        elif keys:
            passages = candidates.passages if wants_passages else None
            bodies.append(page_body(keys, search, candidates.match_queries, passages, candidates.shown))
        if keys and wants_passages and attachment is not None:
            bodies.append(source_body(keys, attachment.source_fields, search))
        responses = await self._requests.ask("page", bodies)
        counts = {**responses[0], "hits": {"total": known_total}} if is_counted else responses.pop(0)
        if ties is not None and not wants_passages and keys:
            page = in_order_of(ties.hits, responses[0])
        hits = fused_page(page, responses[0]) if keys else []
        if len(responses) > 1 and attachment is not None:
            add_passage_texts(hits, responses[1], attachment, semantic_scores(candidates.fused))
        await self._highlight_passages(candidates, hits)
        if search.sort:
            add_cursors(hits)
        self._explain(hits, page)
        return hits, counts

    async def _sorted_page(self, candidates: RankedCandidates) -> tuple[Hits, dict[str, Any]]:
        """The page as Elasticsearch sorts and collapses the candidates, with their fused scores."""
        search, fused = self._search, candidates.fused
        bodies = [self._totals_body(candidates)]
        if fused:
            shown = after_position(search, fused)
            others = None
            if search.collapse is not None and not search.sort and not self._counts_candidates_only(candidates):
                others = counted_query(candidates.match_queries, candidates.nearest)
                shown = replace(shown, size=max(0, min(search.size, len(fused) - search.start)))
            positions = positions_of(fused)
            bodies.append(sorted_page_body(positions, shown, candidates.match_queries, candidates.shown, others=others))
        responses = await self._requests.ask("page", bodies)
        hits = responses[1]["hits"]["hits"] if fused else []
        by_key = {hit.key: hit for hit in fused}
        show_fused_scores(hits, by_key, search)
        self._explain(hits, [by_key[key_of(hit)] for hit in hits if key_of(hit) in by_key])
        return hits, responses[0]

    def _totals_body(self, candidates: RankedCandidates) -> dict[str, Any]:
        keys = [hit.key for hit in candidates.fused]
        counted = (
            counted_query([], keys)
            if self._counts_candidates_only(candidates)
            else counted_query(candidates.match_queries, candidates.nearest)
        )
        return totals_body(counted, {hit.key: hit.score for hit in candidates.fused}, self._search)

    def _counts_candidates_only(self, candidates: RankedCandidates) -> bool:
        ranking = self._search.ranking
        is_cut = isinstance(ranking, Hybrid) and ranking.autocut is not None
        return candidates.only_candidates or ranking.min_score is not None or is_cut

    async def _highlight_passages(self, candidates: RankedCandidates, hits: Sequence[dict[str, Any]]) -> None:
        """A hit that only its vector found has no word to highlight; it shows its best passage instead."""
        bare, attachment = [hit for hit in hits if not hit.get("highlight")], candidates.attachment
        if "highlight" not in self._search.page or not bare or attachment is None:
            return
        keys = [key_of(hit) for hit in bare]
        plain = replace(self._search, page={"_source": False})
        bodies = [
            page_body(keys, plain, [], candidates.passages),
            source_body(keys, attachment.source_fields, plain),
        ]
        passages, sources = await self._requests.ask("best passages", bodies)
        with_passages = passages["hits"]["hits"]
        add_passage_texts(with_passages, sources, attachment, semantic_scores(candidates.fused))
        highlight_passages(bare, with_passages, self._search.page["highlight"], attachment)

    def _explain(self, hits: Sequence[dict[str, Any]], fused: Sequence[FusedHit]) -> None:
        if not self._search.explain:
            return
        combination = str(getattr(self._search.ranking, "combination", "sum"))
        by_key = {hit.key: hit for hit in fused}
        for hit in hits:
            if key_of(hit) in by_key:
                hit["_explanation"] = explanation(by_key[key_of(hit)], combination)

    def _response(
        self, candidates: RankedCandidates, hits: Hits, counts: dict[str, Any], began: float
    ) -> dict[str, Any]:
        search, requests = self._search, self._requests
        fused = candidates.fused
        total = total_of(counts, search)
        as_int = self._parameters.response.get("rest_total_hits_as_int", "false") in ("", "true")
        body: dict[str, Any] = {} if requests.pit_id is None else {"pit_id": requests.pit_id}
        body |= {
            "took": int((time.monotonic() - began) * 1000),
            "timed_out": requests.timed_out,
            "_shards": merged_shards(counts["_shards"], requests.failed_shards),
            "hits": {
                **({} if total is None else {"total": total}),
                "max_score": fused[0].score if fused else None,
                "hits": hits,
            },
        }
        body |= {key: counts[key] for key in ("aggregations", "suggest") if key in counts}
        if as_int:
            totals_as_integers(body)
        if search.profile:
            body["profile"] = {"shards": requests.shards}
        extras = self._extras()
        return {**body, "esblend": extras} if extras else body

    def _extras(self) -> dict[str, Any]:
        extras: dict[str, Any] = {}
        if self._requests.degraded:
            extras["degraded"] = self._requests.degraded
        if self._search.profile:
            extras["profile"] = {"steps": self._requests.steps, "plan": self._requests.plan}
        return extras

    async def _searched_name(self) -> str:
        """The request's target, or the indices of its point in time."""
        if self._search.pit is None:
            return self._target or "*"
        return await indices_of(self._services.es, self._search.common["pit"]) or "-*"

    async def _targets(self) -> list[Target]:
        targets = await self._services.metadata.targets(self._requester(), await self._searched_name())
        self._report_unattached(*targets)
        generation = getattr(self._search.ranking, "generation", None)
        return [target.using(generation) for target in targets] if generation is not None else targets

    async def _single_target(self) -> Target:
        """Read once per search, so that all legs use the same generation even while another becomes active."""
        if self._shared_target is None:
            name = await self._searched_name()
            self._shared_target = await self._services.metadata.target(self._requester(), name)
            self._report_unattached(self._shared_target)
        return self._shared_target

    def _report_unattached(self, *targets: Target) -> None:
        unattached = [index for target in targets for index in target.unattached]
        if unattached:
            names = ", ".join(unattached[:5])
            self._requests.degrade("semantic", f"index [{names}] is not attached, so only words find its documents")

    def _requester(self) -> Requester:
        return Requester(
            self._services.es,
            self._caller.key,
            already_authorised=self._search.pit is not None,
            options=self._parameters.header,
        )
