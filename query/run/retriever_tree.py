"""Ranks by a tree of retrievers: vectors for its texts, all leaves in one request, then fusion from the bottom up."""

import asyncio
import copy
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
from elasticsearch import ApiError, TransportError

from esblend.errors import EncodingError, EsblendError, InvalidRequest, ModelError, NotAttached
from esblend.event_loop import off_loop
from mappings.attachment import Attachment
from mappings.capabilities import Version
from query.fusion.ranked_lists import FusedHit, Key, Scores
from query.language.semantic import is_text, text_sections, text_to_embed
from query.language.tree import (
    DiversifyLeg,
    FieldsLeg,
    Fusion,
    KnnLeg,
    Leaf,
    Leg,
    PinnedLeg,
    RerankLeg,
    RescorerLeg,
    RrfLeg,
    Search,
    ServerLeg,
    StandardLeg,
    Wrapper,
    kind_of,
    leaf_windows,
    leaves,
)
from query.plan.knn import Vector
from query.plan.legs import leaf_body
from query.plan.page import document_order_body
from query.plan.query_and_fields import expand_fields
from query.plan.sequence_numbers import (
    needs_only_page,
    numbered,
)
from query.plan.tree_queries import (
    any_min_score,
    counted,
    is_ranked_by_number,
    matching,
    named_documents,
    shown_queries,
)
from query.run.candidates import MANY_CANDIDATES, RankedCandidates
from query.run.cross_encoder import Reranker
from query.run.diversify import diversified, read_vectors
from query.run.failed_legs import raise_failures
from query.run.leaf_explanations import indices_of
from query.run.numbered_page import numbered_page
from query.run.pin import pin, pinned_documents
from query.run.query_encoder import QueryEmbedder
from query.run.requests import LegKind, SearchRequests, ranked_lists, scores_of, server_fault
from query.run.rerank import rerank
from query.run.rescore import rescore
from query.run.semantic import is_vector_name
from query.run.server_retrievers import server_executes
from query.run.together import together
from query.run.tree_fusion import RankedList, fuse, list_of_hits, list_of_leaf, ranked_leaf, tied_hits
from query.targets.target import Target


@dataclass
class RetrieverSearch:
    """One search by a retriever tree. `targets`: the attached indices of the search, none where no index is attached."""

    requests: SearchRequests
    embedder: QueryEmbedder
    reranker: Reranker
    attached: Callable[[], Awaitable[Target]]
    targets: Callable[[], Awaitable[Sequence[Target]]]
    report_unattached: Callable[[Target], None]
    """Reports the indices of the search without attachment, which kNN legs cannot search."""
    version: Callable[[], Awaitable[Version | None]]
    """The server's version."""
    pinned: list[Key] = field(default_factory=list)
    named: list[dict[str, Any]] = field(default_factory=list)
    """Named queries for the results of the named retrievers above the leaves."""
    is_page_enough: bool = False
    """Whether the candidates after the page are not needed."""
    is_numbered: bool = False
    """Whether sequence numbers identify the candidates."""

    async def run(self, leg: Leg, window: int) -> RankedCandidates:
        """`window`: the size of a leg's list outside of any fusion. Raises EsblendError."""
        leg = await self._expanded(leg)
        self.is_numbered = await self._is_ranked_by_number(leg)
        if self.is_numbered:
            page = await numbered_page(self.requests, self._candidates(leg, window))
            if page is not None:
                return page
            self.is_numbered = False
        return await self._candidates(leg, window)

    async def _is_ranked_by_number(self, leg: Leg) -> bool:
        search = self.requests.search
        if (
            not self.is_page_enough
            or search.pit is not None
            or not needs_only_page(search)
            or not is_ranked_by_number(leg)
        ):
            return False
        try:
            targets = await self.targets()
        except (EsblendError, ApiError, TransportError):  # without the right to read mappings, the shards are unknown
            return False
        return len(targets) == 1 and targets[0].can_search_numbers

    async def _candidates(self, leg: Leg, window: int) -> RankedCandidates:
        search = self.requests.search
        # Legs without a text run while the texts of the others are encoded.
        early = self._early(list(leaves(leg)))
        leg, first = await together(self._with_vectors(leg), self._responses(leg, window, early))
        parts = list(leaves(leg))
        windows = list(leaf_windows(leg, window))
        rest = [n for n in range(len(parts)) if n not in early]
        by_number = {**first, **await self._responses(leg, window, rest)}
        responses = [by_number[n] for n in range(len(parts))]
        lists = await self._lists(leg, parts, responses)
        began = time.perf_counter()
        fused = await self._fuse(leg, enumerate(lists), shown=_shown(search))
        self.requests.took("fusion", began)
        nearest = [
            key
            for part, scores in zip(parts, lists, strict=True)
            if not isinstance(part, StandardLeg)
            for key in scores
        ]
        below = [hit for hit in fused if search.min_score is not None and hit.score < search.min_score]
        fused = fused[: len(fused) - len(below)]
        match_queries = list(map(matching, counted(parts)))
        return RankedCandidates(
            fused=fused,
            match_queries=match_queries,
            nearest=[*self.pinned, *nearest],
            shown=(*shown_queries(parts, lists), *self.named),
            below_minimum=tuple(below),
            leaves=tuple(zip(parts, windows, strict=True)),
            only_candidates=search.min_score is not None or any_min_score(leg),
            listed=list(dict.fromkeys(chain.from_iterable(lists))) if self.is_numbered else (),
            matched=self._matched(parts, responses),
        )

    def _early(self, parts: Sequence[Leaf]) -> list[int]:
        """The numbers of the leaves to request during encoding; none where no text is encoded, or where the server's retrievers may
        yet be replaced by their legs."""
        early = [n for n, part in enumerate(parts) if isinstance(part, StandardLeg)]
        encodes = any(isinstance(part, KnnLeg) and is_text(part.section.get("query_vector_builder")) for part in parts)
        if not early or not encodes or not self.embedder.has_room or any(isinstance(part, ServerLeg) for part in parts):
            return []
        self.requests.plan["requests"] = "BM25 during encoding, then kNN"
        return early

    async def _responses(self, leg: Leg, window: int, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
        """The responses to some of the leaves, by their numbers. Raises EsblendError."""
        sized = list(zip(leaves(leg), leaf_windows(leg, window), strict=True))
        parts = [sized[n][0] for n in numbers]
        search = self.requests.search
        # The page by number counts the nearest documents that the only lexical leg does not match.
        counts = self.is_numbered and sum(isinstance(part, StandardLeg) for part in leaves(leg)) == 1
        most = search.track_total_hits if counts else False
        bodies = [
            leaf_body(part, sized[n][1], search, track_total_hits=isinstance(part, StandardLeg) and most)
            for n, part in zip(numbers, parts, strict=True)
        ]
        if self.is_numbered:
            bodies = list(map(numbered, bodies))
        kinds: list[LegKind] = ["semantic" if isinstance(part, KnnLeg) else "lexical" for part in parts]
        responses = await self.requests.legs(kinds, bodies, indices=list(map(indices_of, parts)))
        return dict(zip(numbers, responses, strict=True))

    def _matched(self, parts: Sequence[Leaf], responses: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
        """`hits.total` of the only lexical leg; None if there are several, or if it did not count."""
        lexical = [answer for part, answer in zip(parts, responses, strict=True) if isinstance(part, StandardLeg)]
        return lexical[0]["hits"].get("total") if len(lexical) == 1 and self.is_numbered else None

    async def _lists(self, leg: Leg, parts: Sequence[Leaf], responses: Sequence[dict[str, Any]]) -> list[Scores]:
        """A ranked list for each leaf. A kNN leg that failed on the server gives an empty list and is reported."""
        faults = [
            server_fault(response) if isinstance(part, KnnLeg) else None
            for part, response in zip(parts, responses, strict=True)
        ]
        raise_failures(leg, [None if fault else answer for answer, fault in zip(responses, faults, strict=True)])
        for part, fault in zip(parts, faults, strict=True):
            if fault is not None:
                self.requests.degrade(part.name, fault)
        found = iter(await ranked_lists([answer for answer, fault in zip(responses, faults, strict=True) if not fault]))
        return [{} if fault else next(found) for fault in faults]

    async def _expanded(self, leg: Leg) -> Leg:
        if isinstance(leg, FieldsLeg):
            return expand_fields(leg, await self.targets())
        if isinstance(leg, ServerLeg) and leg.parsed is not None:
            # A leg of another retriever needs its own fields only, so the retriever is asked for as a whole.
            knows = await server_executes(leg.retriever, await self.version(), self.targets)
            return leg if knows else await self._expanded(leg.parsed)
        if isinstance(leg, Fusion):
            legs = [replace(weighted, leg=await self._expanded(weighted.leg)) for weighted in leg.legs]
            return replace(leg, legs=tuple(legs))
        return replace(leg, leg=await self._expanded(leg.leg)) if isinstance(leg, Wrapper) else leg

    async def _with_vectors(self, leg: Leg) -> Leg:
        """The tree with every text of a `query_vector_builder` embedded."""
        if isinstance(leg, Fusion):
            inner = await together(*(self._with_vectors(weighted.leg) for weighted in leg.legs))
            legs = tuple(replace(weighted, leg=new) for weighted, new in zip(leg.legs, inner, strict=True))
            return replace(leg, legs=legs)
        if isinstance(leg, Wrapper):
            return replace(leg, leg=await self._with_vectors(leg.leg))
        if isinstance(leg, ServerLeg):
            return await self._server_leg_with_vectors(leg)
        if not isinstance(leg, KnnLeg):
            return leg
        indices = await self._indices_with_field(leg.section["field"])
        leg = replace(leg, indices=leg.indices or indices)
        builder = leg.section.get("query_vector_builder")
        if builder is None or not is_text(builder):
            return leg  # other builders, such as `lookup`, are Elasticsearch's
        try:
            attachment = await self._attachment_of(leg)
            vector_field, vector = await self._embedded(leg.section["field"], builder, attachment)
        except (ModelError, EncodingError) as error:
            self.requests.degrade(leg.name, error.reason)
            return StandardLeg({"match_none": {}}, name=leg.name)
        section = {key: value for key, value in leg.section.items() if key != "query_vector_builder"}
        similarity = attachment.generation.vector.similarity
        return replace(leg, section={**section, "field": vector_field, "query_vector": vector}, similarity=similarity)

    async def _server_leg_with_vectors(self, leg: ServerLeg) -> Leg:
        retriever = copy.deepcopy(leg.retriever)
        try:
            for section in text_sections(retriever):
                if is_text(section["query_vector_builder"]):
                    attachment = (await self.attached()).attachment
                    builder = section.pop("query_vector_builder")
                    section["field"], section["query_vector"] = await self._embedded(
                        section["field"], builder, attachment
                    )
        except (ModelError, EncodingError) as error:
            if leg.parsed is not None:
                return await self._with_vectors(leg.parsed)
            self.requests.degrade(leg.name, error.reason)
            return StandardLeg({"match_none": {}}, name=leg.name)
        return replace(leg, retriever=retriever)

    async def _indices_with_field(self, field: str) -> tuple[str, ...]:
        """The attached indices, if `field` is theirs and others of the search lack it; their shards would fail."""
        try:
            targets = await self.targets()
        except (EsblendError, ApiError, TransportError):  # whoever may not read the mappings names a field as it is
            return ()
        for target in targets:
            if target.unattached and is_vector_name(field, target.attachment):
                self.report_unattached(target)
                return target.indices
        return ()

    async def _attachment_of(self, leg: KnnLeg) -> Attachment:
        """The attachment of the indices that a leg is for."""
        for target in await self.targets() if leg.indices else ():
            if target.indices == leg.indices:
                return target.attachment
        return (await self.attached()).attachment

    async def _embedded(self, name: str, builder: Any, attachment: Attachment) -> tuple[str, Vector]:
        text = text_to_embed(builder)
        if not is_vector_name(name, attachment):
            raise InvalidRequest(
                f"[knn.query_vector_builder]: only the attached vector field [{attachment.vector_field}] can be searched by text, "
                f"not [{name}]"
            )
        began = time.perf_counter()
        vector = await self.embedder.embed(text, attachment.generation)
        self.requests.took("encode", began)
        return attachment.vector_field, vector

    async def _vector_path(self, name: str) -> str:
        """The attachment's vector field if `name` refers to it; otherwise `name` itself."""
        try:
            attachment = (await self.attached()).attachment
        except NotAttached:
            return name
        return attachment.vector_field if is_vector_name(name, attachment) else name

    async def _fuse(
        self,
        leg: Leg,
        lists: Iterator[tuple[int, Scores]],
        *,
        is_ranked: bool = False,
        shown: int | None = None,
    ) -> list[FusedHit]:
        """`lists` gives the leaves' positions and ranked lists in their order. `is_ranked`: the enclosing leg reads ranks. `shown`:
        nobody reads hits beyond this position."""
        if isinstance(leg, Leaf | FieldsLeg):
            position, scores = next(lists)
            return await off_loop(len(scores) > MANY_CANDIDATES, ranked_leaf, leg.name, scores, position)
        fused = await self._fuse_inner(leg, lists, is_ranked=is_ranked, shown=shown)
        if leg.name != kind_of(leg) and fused:
            self.named.append(named_documents([hit.key for hit in fused], leg.name))
        return fused

    async def _ranked(self, leg: Leg, lists: Iterator[tuple[int, Scores]], *, is_ranked: bool) -> RankedList:
        """As `_fuse`, for the list of a leg directly below a fusion."""
        if isinstance(leg, Leaf | FieldsLeg):
            position, scores = next(lists)
            return list_of_leaf(leg.name, scores, position)
        return list_of_hits(await self._fuse(leg, lists, is_ranked=is_ranked))

    async def _fuse_inner(
        self, leg: Fusion | Wrapper, lists: Iterator[tuple[int, Scores]], *, is_ranked: bool, shown: int | None
    ) -> list[FusedHit]:
        if isinstance(leg, Fusion):
            reads_ranks = isinstance(leg, RrfLeg)
            inner = [await self._ranked(weighted.leg, lists, is_ranked=reads_ranks) for weighted in leg.legs]
            is_long = sum(len(ranked.scores) for ranked in inner) > MANY_CANDIDATES
            fused = await off_loop(is_long, fuse, leg, inner, shown if self.is_numbered else None)
            return await self._cut(fused, leg.window, is_ranked=is_ranked, shown=shown)
        candidates = (await self._fuse(leg.leg, lists))[: leg.depth if isinstance(leg, RescorerLeg) else leg.window]
        fused = (await self._wrapped(leg, candidates))[: leg.window]
        return [hit for hit in fused if leg.min_score is None or hit.score >= leg.min_score]

    async def _cut(
        self, fused: list[FusedHit], window: int, *, is_ranked: bool, shown: int | None = None
    ) -> list[FusedHit]:
        """The best `window` hits. Where the order of equal scores matters, Elasticsearch is asked for the documents' order."""
        tied = tied_hits(fused, window, all_ties=is_ranked)
        # Which of equal hits are cut does not matter when all of them are behind the page.
        if tied and (shown is None or tied[0].score >= fused[min(shown, len(fused)) - 1].score):
            body = document_order_body([hit.key for hit in tied], self.requests.search)
            body = numbered(body) if self.is_numbered else body
            [response] = await self.requests.ask("ties", [body])
            order = {key: position for position, key in enumerate(scores_of(response))}
            fused = sorted(fused, key=lambda hit: (-hit.score, order.get(hit.key, -1)))
        return fused[:window]

    async def _wrapped(self, leg: Wrapper, candidates: list[FusedHit]) -> list[FusedHit]:
        if isinstance(leg, PinnedLeg):
            pins = await pinned_documents(self.requests, leg)
            self.pinned += pins
            return pin(leg.name, pins, candidates)
        if not candidates:
            return []
        if isinstance(leg, RescorerLeg):
            return await rescore(self.requests, leg, candidates)
        if isinstance(leg, RerankLeg):
            return await rerank(self.requests, self.reranker, leg.name, leg.text, (leg.field,), leg.model, candidates)
        return await self._diversify(leg, candidates)

    async def _diversify(self, leg: DiversifyLeg, candidates: list[FusedHit]) -> list[FusedHit]:
        vector_field, query = await self._vector_path(leg.vector_field), leg.query.get("query_vector")
        if "query_vector_builder" in leg.query:
            try:
                attachment = (await self.attached()).attachment
                vector_field, query = await self._embedded(
                    leg.vector_field, leg.query["query_vector_builder"], attachment
                )
            except (ModelError, EncodingError) as error:
                self.requests.degrade(leg.name, error.reason)
        keys = [hit.key for hit in candidates]
        vectors = await read_vectors(self.requests, keys, vector_field, await self.version())
        against = None if query is None else np.asarray(query, dtype=np.float32)
        return await asyncio.to_thread(diversified, leg, candidates, vectors, against)


def _shown(search: Search) -> int | None:
    """The number of hits up to the end of the page; None if the response depends on hits behind it."""
    reads_more = search.counts_more or search.needs_elasticsearch_sort or search.search_after
    return None if reads_more else search.start + search.size
