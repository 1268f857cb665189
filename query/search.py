"""Runs a fused search: embed, ask each leg, fuse, fetch the page.

request tree -> vectors -> _msearch of the legs [-> exact scores of every candidate] -> fusion -> page and totals
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog
from elasticsearch import AsyncElasticsearch

from esblend.errors import EsblendError, InvalidRequest, UpstreamError
from mappings.attachment import Attachment
from query.embedder import QueryEmbedder
from query.fusion import Fused, Key, Part, RankedLeg, Scores, autocut, linear_fusion, reciprocal_rank_fusion
from query.metadata import Metadata, Target
from query.page import explanation, find_passages, show_hits, total_of
from query.parameters import Parameters
from query.plan import (
    LEXICAL,
    SEMANTIC,
    Vector,
    alpha_of,
    best_passage_clause,
    exact_scores_body,
    filtered,
    leaf_body,
    leaf_windows,
    leaves,
    lexical_leg,
    page_body,
    semantic_leg,
    source_body,
    totals_body,
    window_of,
)
from query.request import Hybrid, KnnLeg, Leg, LinearLeg, RrfLeg, Search, StandardLeg, Weighted
from query.semantic import text_to_embed
from query.upstream import Answer, RawHeaders, Upstream

log = structlog.get_logger()
MAX_IDS = 5000
"""Elasticsearch takes at most `index.max_result_window` (10,000) ids in one query."""


@dataclass(frozen=True)
class Caller:
    """Who asks: the headers that go on to Elasticsearch, and a key that differs between rights."""

    headers: RawHeaders
    key: str


@dataclass(frozen=True)
class Services:
    """What a search needs beside its request. `es` reads mappings only, never documents."""

    upstream: Upstream
    es: AsyncElasticsearch
    metadata: Metadata
    embedder: QueryEmbedder


@dataclass(frozen=True)
class Ranking:
    """All candidates in their final order, and what it takes to show and count them."""

    fused: list[Fused]
    match_queries: list[dict[str, Any]]
    nearest: list[Key]
    degraded: tuple[str, ...] = ()
    passages: dict[str, Any] | None = None
    attachment: Attachment | None = None


@dataclass(frozen=True)
class HybridLegs:
    """What the legs of a hybrid query gave; `vector` is None, and `alpha` 0, where the semantic leg was not asked or failed."""

    lexical: Scores
    semantic: Scores
    vector: Vector | None
    alpha: float
    degraded: tuple[str, ...]


class Session:
    """One search on its way through its steps."""

    def __init__(self, services: Services, caller: Caller, target: str, parameters: Parameters) -> None:
        self._services = services
        self._caller = caller
        self._target = target
        self._parameters = parameters
        self.headers: dict[str, str] = {}

    async def run(self, search: Search) -> dict[str, Any]:
        """The response in Elasticsearch's shape. Raises EsblendError."""
        began = time.monotonic()
        ranking = await (
            self._hybrid(search, search.ranking)
            if isinstance(search.ranking, Hybrid)
            else self._retriever(search, search.ranking)
        )
        page = ranking.fused[search.start : search.start + search.size]
        responses = await self._page(search, ranking, page)
        hits = show_hits(page, responses[0])
        if ranking.passages is not None and ranking.attachment is not None and page:
            find_passages(hits, responses[2], ranking.attachment)
        if search.explain:
            by_key = {one.key: one for one in page}
            combination = search.ranking.combination if isinstance(search.ranking, Hybrid) else "sum"
            for hit in hits:
                hit["_explanation"] = explanation(by_key[Key(hit["_index"], hit["_id"])], combination)
        body: dict[str, Any] = {
            "took": int((time.monotonic() - began) * 1000),
            "timed_out": any(response.get("timed_out", False) for response in responses),
            "_shards": responses[-1 if ranking.passages is None else 1]["_shards"],
            "hits": {"max_score": ranking.fused[0].score if ranking.fused else None, "hits": hits},
        }
        total = total_of(responses[1], search, ranking.fused)
        if total is not None and self._parameters.response.get("rest_total_hits_as_int", "false") in ("", "true"):
            body["hits"] = {"total": total["value"], **body["hits"]}
        elif total is not None:
            body["hits"] = {"total": total, **body["hits"]}
        if "aggregations" in responses[1]:
            body["aggregations"] = responses[1]["aggregations"]
        if ranking.degraded:
            body["esblend"] = {"degraded": list(ranking.degraded)}
            self.headers["Warning"] = warning_header(ranking.degraded[0])
        return body

    async def _page(self, search: Search, ranking: Ranking, page: Sequence[Fused]) -> list[dict[str, Any]]:
        """[page, totals, source of the page when passages are wanted]."""
        keys = [one.key for one in page]
        bodies = [
            page_body(keys, search, ranking.match_queries, ranking.passages)
            if keys
            else {"size": 0, "query": {"match_none": {}}},
            totals_body(ranking.match_queries, ranking.nearest, search),
        ]
        if ranking.passages is not None and ranking.attachment is not None and keys:
            bodies.append(source_body(keys, ranking.attachment))
        return [_whole(response) for response in await self._msearch(bodies)]

    async def _retriever(self, search: Search, leg: Leg) -> Ranking:
        leg = await self._with_vectors(leg)
        parts = list(leaves(leg))
        bodies = [leaf_body(part, window, search) for part, window in zip(parts, leaf_windows(leg), strict=True)]
        lists = [scores_of(_whole(response)) for response in await self._msearch(bodies)]
        return Ranking(
            fused=fuse(leg, iter(lists)),
            match_queries=[filtered(part.query, part.filters) for part in parts if isinstance(part, StandardLeg)],
            nearest=[
                key for part, scores in zip(parts, lists, strict=True) if isinstance(part, KnnLeg) for key in scores
            ],
        )

    async def _with_vectors(self, leg: Leg) -> Leg:
        """The tree with every text of a `query_vector_builder` embedded."""
        if isinstance(leg, RrfLeg | LinearLeg):
            inside = await asyncio.gather(*(self._with_vectors(weighted.leg) for weighted in leg.legs))
            legs = tuple(replace(weighted, leg=one) for weighted, one in zip(leg.legs, inside, strict=True))
            return replace(leg, legs=legs)
        if isinstance(leg, StandardLeg) or "query_vector_builder" not in leg.section:
            return leg
        text = text_to_embed(leg.section["query_vector_builder"])
        attachment = (await self._attached()).attachment
        if leg.section["field"] != attachment.vector_field:
            raise InvalidRequest(
                f"[knn.query_vector_builder]: only the attached vector field [{attachment.vector_field}] can be searched by text, "
                f"not [{leg.section['field']}]"
            )
        vector = await self._services.embedder.embed(text, attachment.generation.model)
        section = {key: value for key, value in leg.section.items() if key != "query_vector_builder"}
        return replace(leg, section={**section, "query_vector": vector})

    async def _hybrid(self, search: Search, hybrid: Hybrid) -> Ranking:
        target = await self._attached()
        attachment = target.attachment
        lexical = lexical_leg(hybrid, target)
        legs = await self._ask_legs(search, hybrid, lexical, attachment)
        lists: tuple[Scores, Scores] = (legs.lexical, {key: 2 * score - 1 for key, score in legs.semantic.items()})
        fusion = hybrid.fusion or attachment.defaults.fusion or "linear"
        if fusion == "linear" and hybrid.blending == "exact" and legs.vector is not None:
            candidates = [*dict.fromkeys([*legs.lexical, *legs.semantic])]
            exact = await self._exact_scores(candidates, lexical, attachment, legs.vector, search)
            lists = exact if legs.alpha < 1 else ({}, exact[1])
        fused = blend(lists, legs.alpha, fusion, hybrid.normalizer, hybrid.combination)
        if hybrid.min_score is not None:
            fused = [one for one in fused if one.score >= hybrid.min_score]
        if hybrid.autocut is not None:
            fused = autocut(fused, hybrid.autocut)
        shows_passages = hybrid.inner_hits and legs.vector is not None
        return Ranking(
            fused=fused,
            match_queries=[filtered(lexical.query, lexical.filters)] if legs.alpha < 1 else [],
            nearest=list(legs.semantic),
            degraded=legs.degraded,
            passages=best_passage_clause(attachment, legs.vector)
            if shows_passages and legs.vector is not None
            else None,
            attachment=attachment,
        )

    async def _ask_legs(
        self, search: Search, hybrid: Hybrid, lexical: StandardLeg, attachment: Attachment
    ) -> HybridLegs:
        """Both legs in one request; a leg of weight 0 is not asked. When the semantic leg fails, the lexical one answers alone."""
        window, alpha = window_of(hybrid, attachment, search), alpha_of(hybrid, attachment)
        lexical_body = leaf_body(lexical, window, search)
        vector, degraded = await self._embed_or_degrade(hybrid.query, attachment) if alpha > 0 else (None, ())
        if vector is not None:
            semantic_body = leaf_body(semantic_leg(hybrid, attachment, vector, window), window, search)
            responses = await self._msearch([semantic_body] if alpha == 1 else [semantic_body, lexical_body])
            semantic, fault = _scores_or_fault(responses[0])
            if fault is None:
                found = scores_of(_whole(responses[1])) if alpha < 1 else {}
                return HybridLegs(found, semantic, vector, alpha, ())
            degraded = (f"semantic: {fault}",)
        [response] = await self._msearch([lexical_body])
        return HybridLegs(scores_of(_whole(response)), {}, None, 0.0, degraded)

    async def _embed_or_degrade(self, text: str, attachment: Attachment) -> tuple[Vector | None, tuple[str, ...]]:
        try:
            return await self._services.embedder.embed(text, attachment.generation.model), ()
        except EsblendError as error:
            log.warning("searching without the semantic leg", cause=error.reason)
            return None, (f"semantic: {error.reason}",)

    async def _exact_scores(
        self, keys: Sequence[Key], lexical: StandardLeg, attachment: Attachment, vector: Vector, search: Search
    ) -> tuple[Scores, Scores]:
        """(BM25, dot product) of every candidate; each list best first, a document that a leg does not match left out."""
        if not keys:
            return {}, {}
        chunks = [keys[start : start + MAX_IDS] for start in range(0, len(keys), MAX_IDS)]
        bodies = [exact_scores_body(chunk, lexical, attachment, vector, search) for chunk in chunks]
        hits = [
            hit
            for response in await self._msearch(bodies, named_scores=True)
            for hit in _whole(response)["hits"]["hits"]
        ]
        named = {Key(hit["_index"], hit["_id"]): hit.get("matched_queries") or {} for hit in hits}
        bm25 = {key: scores[LEXICAL] for key, scores in named.items() if LEXICAL in scores}
        dots = {key: scores[SEMANTIC] - 1 for key, scores in named.items() if SEMANTIC in scores}
        return _best_first(bm25), _best_first(dots)

    async def _attached(self) -> Target:
        return await self._services.metadata.target(self._services.es, self._target or "*", self._caller.key)

    async def _msearch(self, bodies: Sequence[dict[str, Any]], *, named_scores: bool = False) -> list[dict[str, Any]]:
        header = {**({"index": self._target} if self._target else {}), **self._parameters.header}
        lines = [line for body in bodies for line in (header, body)]
        params = {key: value for key, value in self._parameters.response.items() if key == "typed_keys"}
        if named_scores:
            params["include_named_queries_score"] = "true"
        answer: Answer = await self._services.upstream.request(
            "POST", "/_msearch", headers=self._caller.headers, params=params, body=lines
        )
        self.headers.update(answer.headers)
        return list(answer.body["responses"])


def blend(
    lists: tuple[Scores, Scores], alpha: float, fusion: str, normalizer: str | None, combination: str = "sum"
) -> list[Fused]:
    """Fuse (BM25, dot product) of a hybrid query.

    By default score = (1 - alpha) * BM25 / (the query's highest BM25 among the candidates) + alpha * dot product. The
    `theoretical` normaliser takes the bounds that are known: the same for BM25, and (dot + 1) / 2. Any other is applied to
    both lists. A document without vectors gets 0 from the semantic leg.
    """
    normalizers = _NORMALIZERS_BY_LEG.get(normalizer or "", (normalizer or "", normalizer or ""))
    legs = [
        RankedLeg(LEXICAL, lists[0], 1 - alpha, normalizers[0]),
        RankedLeg(SEMANTIC, lists[1], alpha, normalizers[1]),
    ]
    return reciprocal_rank_fusion(legs) if fusion == "rrf" else linear_fusion(legs, combination)


_NORMALIZERS_BY_LEG = {"": ("max", "none"), "theoretical": ("max", "unit_dot")}


def fuse(leg: Leg, lists: Iterator[Scores]) -> list[Fused]:
    """Fuse a tree of legs bottom-up; `lists` gives the leaves' ranked lists in their order."""
    if not isinstance(leg, RrfLeg | LinearLeg):
        scores = next(lists)
        return [
            Fused(key, score, (Part(leg.name, 1.0, rank, score, score, score),))
            for rank, (key, score) in enumerate(scores.items(), 1)
        ]
    legs = [_ranked(weighted, lists, leg.window) for weighted in leg.legs]
    fused = reciprocal_rank_fusion(legs, leg.rank_constant) if isinstance(leg, RrfLeg) else linear_fusion(legs)
    if leg.min_score is not None:
        fused = [one for one in fused if one.score >= leg.min_score]
    return fused[: leg.window]


def _ranked(weighted: Weighted, lists: Iterator[Scores], window: int) -> RankedLeg:
    inside = fuse(weighted.leg, lists)[:window]
    return RankedLeg(weighted.leg.name, {one.key: one.score for one in inside}, weighted.weight, weighted.normalizer)


def warning_header(text: str) -> str:
    """A `Warning` header (RFC 7234, section 5.5): code 299, quoted text of plain ASCII."""
    plain = (
        text.encode("ascii", "replace")
        .decode()
        .translate({ord('"'): "'", ord("\\"): "/", **dict.fromkeys(range(32), " ")})
    )
    return f'299 esblend "{plain}"'


def scores_of(response: Mapping[str, Any]) -> dict[Key, float]:
    """A response's hits as a ranked list."""
    return {Key(hit["_index"], hit["_id"]): float(hit["_score"]) for hit in response["hits"]["hits"]}


def _best_first(scores: Scores) -> dict[Key, float]:
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


def _whole(response: dict[str, Any]) -> dict[str, Any]:
    """A response of an `_msearch`. Raises UpstreamError with Elasticsearch's own error when it failed."""
    if "error" in response:
        raise UpstreamError(
            int(response.get("status", 500)), {"error": response["error"], "status": response.get("status", 500)}
        )
    return response


def _scores_or_fault(response: dict[str, Any]) -> tuple[dict[Key, float], str | None]:
    """The semantic leg's list; when the server failed (not the request), an empty one and why."""
    if "error" in response and int(response.get("status", 500)) >= 500:
        return {}, str(response["error"].get("reason", "the vector search failed"))
    return scores_of(_whole(response)), None
