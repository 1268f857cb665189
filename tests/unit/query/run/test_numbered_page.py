"""The page of candidates that are known by sequence number."""

from dataclasses import replace
from typing import Any

import pytest

from esblend.errors import UpstreamError
from query.fusion.ranked_lists import FusedHit, Key, NumberedKey
from query.language.tree import Hybrid, Search
from query.language.url_parameters import Parameters
from query.run.candidates import RankedCandidates
from query.run.elasticsearch import ElasticsearchResponse
from query.run.numbered_page import numbered_page
from query.run.requests import Caller, SearchRequests

SEARCH = Search(Hybrid(("whale",)), size=2)
MATCHING = {"match": {"body": "whale"}}
NUMBERS = [NumberedKey("i", f"{number}/1") for number in "789"]
CANDIDATES = RankedCandidates(
    [FusedHit(key, score, ()) for key, score in zip(NUMBERS, (3.0, 2.0, 1.0), strict=True)],
    [MATCHING],
    [*NUMBERS],
    listed=NUMBERS,
)
FORTY = {"value": 40, "relation": "eq"}


class Sent:
    """Takes the place of Elasticsearch: counts `apart` documents, and has all documents but those in `written`. The index has
    `shards`; a new primary of `term` has given its numbers."""

    def __init__(self, *written: str, apart: int = 2, timed_out: bool = False, shards: int = 1, term: int = 1) -> None:
        self.bodies: list[dict[str, Any]] = []
        self._timed_out = timed_out
        self._written = written
        self._apart = apart
        self._shards = {"total": shards, "successful": shards, "skipped": 0, "failed": 0}
        self._term = term

    async def post(self, *_: Any, body: list[dict[str, Any]], **__: Any) -> ElasticsearchResponse:
        self.bodies += body[1::2]
        return ElasticsearchResponse({"responses": list(map(self._response, body[1::2]))}, {})

    def _response(self, body: dict[str, Any]) -> dict[str, Any]:
        if body["size"] == 0:
            total = {"value": self._apart, "relation": "eq"}
            return {"_shards": self._shards, "timed_out": False, "hits": {"total": total, "hits": []}}
        hits = [
            {
                "_index": "i",
                "_id": f"d{key.number}",
                "_score": 0.0,
                "_seq_no": int(key.number),
                "_primary_term": self._term,
            }
            for key in (NUMBERS[1], NUMBERS[0], NUMBERS[2])
            if key.number not in self._written
        ]
        total = {"value": len(hits), "relation": "eq"}
        hits = hits[: body["size"]]
        return {"_shards": self._shards, "timed_out": self._timed_out, "hits": {"total": total, "hits": hits}}


async def ranked(candidates: RankedCandidates) -> RankedCandidates:
    return candidates


async def page_of(sent: Sent, candidates: RankedCandidates, search: Search = SEARCH) -> RankedCandidates:
    page = await numbered_page(requests(sent, search), ranked(candidates))
    assert page is not None
    return page


def requests(sent: Sent, search: Search = SEARCH) -> SearchRequests:
    return SearchRequests(sent, Caller((), "key"), "i", Parameters(), search)  # type: ignore[arg-type]


async def test_the_hits_of_the_page_have_their_ids_and_fused_scores() -> None:
    sent = Sent()
    page = await page_of(sent, replace(CANDIDATES, total=FORTY))
    assert [hit.key for hit in page.fused] == [Key("i", "d7"), Key("i", "d8")]
    hits, counts = page.page or ([], {})
    assert hits == [{"_index": "i", "_id": "d7", "_score": 3.0}, {"_index": "i", "_id": "d8", "_score": 2.0}]
    assert counts["hits"]["total"] == FORTY
    assert len(sent.bodies) == 1


@pytest.mark.parametrize(
    "sent",
    [
        Sent("7"),
        Sent("8"),
        Sent("9"),  # not on the page; its new version may be in the other leg's list
        Sent(shards=2),  # the index was made again, with other shards
        Sent(term=2),  # a new primary has given the numbers to other documents
    ],
)
async def test_a_search_whose_numbers_mean_other_documents_begins_again(sent: Sent) -> None:
    search = requests(sent)
    search.degraded.append("semantic: reported before")

    async def ranking() -> RankedCandidates:
        search.degraded.append("semantic: reported while ranking")
        return replace(CANDIDATES, total=FORTY)

    assert await numbered_page(search, ranking()) is None
    assert search.degraded == ["semantic: reported before"]


async def test_a_document_that_fusion_has_cut_is_looked_for_as_well() -> None:
    listed = [*NUMBERS, NumberedKey("i", "10/1")]
    assert await numbered_page(requests(Sent()), ranked(replace(CANDIDATES, total=FORTY, listed=listed))) is None


async def test_an_index_that_accepts_few_numbers() -> None:
    class Limited(Sent):
        async def post(self, *_: Any, **__: Any) -> ElasticsearchResponse:
            raise UpstreamError(400, {"error": {"reason": "set by the [index.max_terms_count] index level setting"}})

    class Failing(Sent):
        async def post(self, *_: Any, **__: Any) -> ElasticsearchResponse:
            raise UpstreamError(400, {"error": {"reason": "unknown field"}})

    assert await numbered_page(requests(Limited()), ranked(CANDIDATES)) is None
    with pytest.raises(UpstreamError):
        await numbered_page(requests(Failing()), ranked(CANDIDATES))


async def test_a_page_that_times_out_has_the_hits_that_were_found() -> None:
    page = await page_of(Sent("7", timed_out=True), replace(CANDIDATES, total=FORTY))
    assert [hit.key for hit in page.fused] == [Key("i", "d8")]
    assert (page.page or ([], {}))[0] == [{"_index": "i", "_id": "d8", "_score": 2.0}]


async def test_nearest_documents_beside_the_matches_are_counted() -> None:
    sent = Sent()
    page = await page_of(sent, replace(CANDIDATES, matched=FORTY))
    assert (page.page or ([], {}))[1]["hits"]["total"] == {"value": 42, "relation": "eq"}
    assert sent.bodies[0]["query"]["bool"]["must_not"] == [MATCHING]


@pytest.mark.parametrize(
    ("candidates", "search"),
    [
        (replace(CANDIDATES, matched={"value": 10_000, "relation": "gte"}), SEARCH),
        (CANDIDATES, replace(SEARCH, track_total_hits=False)),
    ],
)
async def test_nothing_is_counted_that_the_response_does_not_need(candidates: RankedCandidates, search: Search) -> None:
    sent = Sent()
    await page_of(sent, candidates, search)
    assert [body["size"] for body in sent.bodies] == [2]


async def test_a_search_without_candidates_counts_its_matches() -> None:
    page = await page_of(Sent(apart=5), replace(CANDIDATES, fused=[]))
    hits, counts = page.page or ([{}], {})
    assert (hits, counts["hits"]["total"]["value"]) == ([], 5)
