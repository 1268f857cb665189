"""Two configurations interleaved through the gateway, clicks reported, and the winner named."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from elasticsearch import ApiError, Elasticsearch
from elasticsearch.helpers import bulk

from mappings.click_log import CLICKS_INDEX
from tests.conftest import Stack
from tests.real.gateways import gateway_with

INDEX = "interleaved"
TOPICS = ["engine", "kitten", "virus", "bread", "winter", "harbour", "violin", "mountain", "letter", "garden"]


@pytest.fixture(scope="module")
def index(stack: Stack) -> Iterator[str]:
    """Thirty documents, each of which shares the word `story` with every query."""
    stack.es.indices.create(index=INDEX, mappings={"properties": {"body": {"type": "text"}}})
    documents = [
        {"_id": f"{topic}-{n}", "body": f"A story about the {topic}" + " and so on" * n}
        for topic in TOPICS
        for n in range(3)
    ]
    bulk(stack.es, documents, index=INDEX, refresh=True)
    stack.attach(INDEX, "body")
    stack.wait(INDEX)
    yield INDEX
    stack.es.indices.delete(index=f"{INDEX},{CLICKS_INDEX}", ignore_unavailable=True)


def body(session: str = "s", query: str = "story of a cat", **options: Any) -> dict[str, Any]:
    interleave = {"experiment": "words", "session": session, "a": {"alpha": 0}, "b": {"alpha": 1}}
    return {"query": {"hybrid": {"query": query, "interleave": interleave}}, **options}


def ids(answer: Any) -> list[str]:
    return [hit["_id"] for hit in answer["hits"]["hits"]]


def side_of(hit: Any) -> str:
    [name] = hit["matched_queries"]
    return str(name.removeprefix("interleave."))


def test_each_hit_names_its_side_and_both_orders_are_kept(stack: Stack, index: str) -> None:
    answer = stack.gateway.search(index=index, body=body(size=20, profile=True, explain=True))
    alone = {
        side: ids(stack.gateway.search(index=index, size=30, query={"hybrid": {"query": "story of a cat", "alpha": alpha}}))
        for side, alpha in (("a", 0), ("b", 1))
    }  # fmt: skip
    hits = answer["hits"]["hits"]
    info = answer["esblend"]["interleave"]
    assert [(side["_id"], side["side"]) for side in info["sides"]] == [(hit["_id"], side_of(hit)) for hit in hits]
    seen: set[str] = set()
    for hit in hits:  # each side picks its best hit that the list lacks
        best = next(id_ for id_ in alone[side_of(hit)] if id_ not in seen)
        assert hit["_id"] == best
        seen.add(best)
    assert [hit["_score"] for hit in hits] == [1 / rank for rank in range(1, 21)]
    assert {"a", "b"} == {side_of(hit) for hit in hits}
    assert hits[0]["_explanation"]["description"].startswith("1 / rank in the interleaved list")
    assert hits[0]["_explanation"]["details"][0]["value"] == answer["esblend"]["explanations"][0]["score"]
    profile = answer["esblend"]["profile"]
    assert {"b.semantic"} <= set(profile["plan"])
    assert {step.get("side") for step in profile["steps"]} == {"a", "b", None}


def test_pages_continue_and_a_session_sees_one_order(stack: Stack, index: str) -> None:
    whole = ids(stack.gateway.search(index=index, body=body(size=20)))
    pages = [ids(stack.gateway.search(index=index, body=body(size=5, **{"from": start}))) for start in (0, 5, 10, 15)]
    assert [id_ for page in pages for id_ in page] == whole
    orders = {tuple(ids(stack.gateway.search(index=index, body=body(f"visitor {n}")))) for n in range(12)}
    assert len(orders) > 1
    first = stack.gateway.search(index=index, body=body(size=5, sort=["_score"]))
    after = first["hits"]["hits"][-1]["sort"]
    assert ids(stack.gateway.search(index=index, body=body(size=5, sort=["_score"], search_after=after))) == whole[5:10]


def test_totals_and_aggregations_cover_both_sides(stack: Stack, index: str) -> None:
    answer = stack.gateway.search(
        index=index, body=body(size=1, aggs={"all": {"filter": {"match_all": {}}}}, track_total_hits=True)
    )
    assert answer["hits"]["total"]["value"] == answer["aggregations"]["all"]["doc_count"] == 30
    [response] = stack.gateway.msearch(index=index, searches=[{}, body(size=1)])["responses"]
    assert response["esblend"]["interleave"]["sides"]


def test_what_would_replace_the_order_is_rejected(stack: Stack, index: str) -> None:
    for option in ({"sort": ["_doc"]}, {"collapse": {"field": "body"}}):
        with pytest.raises(ApiError, match="decides the order of the hits"):
            stack.gateway.search(index=index, body=body(**option))


def click(stack: Stack, answer: Any, entry: Any, **changes: Any) -> Any:
    info = answer["esblend"]["interleave"]
    sent = {"experiment": info["experiment"], "search": info["search"], **entry, **changes}
    return stack.call("POST", "/_esblend/clicks", sent)


def test_clicks_decide_which_side_wins(stack: Stack, index: str) -> None:
    stack.es.indices.delete(index=CLICKS_INDEX, ignore_unavailable=True)
    for number in range(40):
        answer = stack.gateway.search(index=index, body=body(f"v{number}"))
        sides = answer["esblend"]["interleave"]["sides"]
        wanted = "a" if number % 8 == 0 else "b"
        chosen = [side for side in sides if side["side"] == wanted][:2]
        for entry in chosen:
            assert click(stack, answer, entry)["result"] == "created"
        assert click(stack, answer, chosen[0])["result"] == "noop"  # a second click on the same hit
    settings = stack.es.indices.get(index=CLICKS_INDEX)[CLICKS_INDEX]
    assert settings["settings"]["index"]["hidden"] == "true"
    assert settings["mappings"]["dynamic"] == "false"
    [stored] = stack.es.search(index=CLICKS_INDEX, size=1)["hits"]["hits"]
    assert set(stored["_source"]) == {"format", "index", "experiment", "search", "side", "time"}
    done = stack.esblend("eval", index, "--clicks", "--json")
    assert done.returncode == 0, done.stderr
    [experiment] = json.loads(done.stdout)["experiments"]
    tally = {name: experiment[name] for name in ("wins_a", "wins_b", "ties", "clicks", "winner")}
    assert tally == {"wins_a": 5, "wins_b": 35, "ties": 0, "clicks": 80, "winner": "b"}
    told = stack.esblend("eval", index, "--clicks")
    assert "side b wins; of 40 searches with clicks, a won 5, b won 35" in told.stdout
    assert stack.call("DELETE", f"/_esblend/clicks?index={index}")["deleted"] == 80
    nothing = stack.esblend("eval", index, "--clicks")
    assert nothing.returncode == 1
    assert "POST /_esblend/clicks" in nothing.stderr


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"side": "c"}, "clicks.side"),
        ({"side": None}, "clicks.side"),
        ({"search": "x"}, "clicks.search"),
        ({"experiment": 1}, "clicks.experiment"),
        ({"_id": "no-such-document"}, "no such document"),
        ({"_id": ""}, "clicks._id"),
        ({"user": "me"}, r"unknown field \[user\]"),
    ],
)
def test_other_clicks_are_rejected(stack: Stack, index: str, changes: dict[str, Any], named: str) -> None:
    answer = stack.gateway.search(index=index, body=body())
    with pytest.raises(ApiError, match=named):
        click(stack, answer, answer["esblend"]["interleave"]["sides"][0], **changes)


def test_a_pattern_without_indices_has_no_clicks(stack: Stack) -> None:
    assert stack.call("GET", "/_esblend/clicks?index=no-such-*") == {"experiments": []}
    assert stack.call("DELETE", "/_esblend/clicks?index=no-such-*")["deleted"] == 0


def test_a_flood_of_clicks_is_limited(
    stack: Stack, tmp_path: Path, many: Callable[[Elasticsearch, int], list[int]]
) -> None:
    with gateway_with(stack, tmp_path, clicks_per_second="5") as gateway:
        statuses = many(gateway, 100)
    assert 429 in statuses
    assert set(statuses) <= {200, 201, 429}


def test_a_full_log_takes_no_more_clicks(stack: Stack, index: str, tmp_path: Path) -> None:
    stack.es.indices.delete(index=CLICKS_INDEX, ignore_unavailable=True)
    answer = stack.gateway.search(index=index, body=body())
    info = answer["esblend"]["interleave"]
    headers = {"accept": "application/json", "content-type": "application/json"}
    statuses = []
    with gateway_with(stack, tmp_path, click_log_size="2") as gateway:
        for entry in info["sides"][:4]:
            sent = {"experiment": info["experiment"], "search": info["search"], **entry}
            client = gateway.options(ignore_status=429)
            response = client.perform_request("POST", "/_esblend/clicks", headers=headers, body=sent)
            statuses.append(response.meta.status)
    assert statuses == [201, 201, 429, 429]
    assert "DELETE /_esblend/clicks?index=INDEX" in response.body["error"]["reason"]


@pytest.fixture
def many(stack: Stack, index: str) -> Callable[[Elasticsearch, int], list[int]]:
    """Sends the same click to a gateway a number of times at once; gives the statuses."""
    answer = stack.gateway.search(index=index, body=body())
    info = answer["esblend"]["interleave"]
    click = {"experiment": info["experiment"], "search": info["search"], **info["sides"][0]}

    async def send(address: str, count: int) -> list[int]:
        async with aiohttp.ClientSession() as session:

            async def send_click() -> int:
                async with session.post(f"{address}/_esblend/clicks", json=click) as response:
                    return response.status

            return await asyncio.gather(*(send_click() for _ in range(count)))

    return lambda gateway, count: asyncio.run(send(next(iter(gateway.transport.node_pool.all())).base_url, count))
