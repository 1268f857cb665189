"""The requests that a search sends to Elasticsearch with the caller's rights, and their timings."""

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from esblend.errors import LegFailed, UpstreamError
from esblend.event_loop import off_loop
from esblend.metrics import DEGRADED, LEG_SECONDS, STEP_SECONDS
from esblend.tracing import past_span
from query.fusion.ranked_lists import Key
from query.language.tree import Search
from query.language.url_parameters import Parameters
from query.plan.sequence_numbers import keys_of_hits
from query.run.candidates import MANY_CANDIDATES
from query.run.elasticsearch import RawHeaders, Upstream

LegKind = Literal["lexical", "semantic"]
_PARTS = ("semantic", "rerank")


@dataclass(frozen=True)
class Caller:
    """The sender of a search: the headers to forward to Elasticsearch, and a cache key that differs between rights."""

    headers: RawHeaders
    key: str


@dataclass(frozen=True)
class Reported:
    """How many degradations and profiles a search has reported, and whether it has timed out."""

    degraded: int
    shards: int
    timed_out: bool


@dataclass
class SearchRequests:
    """Sends the bodies of one search, several in a request, and records timings, failures and degradations."""

    upstream: Upstream
    caller: Caller
    target: str
    parameters: Parameters
    search: Search
    headers: dict[str, str] = field(default_factory=dict)
    """Elasticsearch's headers for the caller."""
    degraded: list[str] = field(default_factory=list)
    """Failed legs and the reasons."""
    steps: list[dict[str, Any]] = field(default_factory=list)
    """Each step with its milliseconds, in order."""
    shards: list[dict[str, Any]] = field(default_factory=list)
    """Elasticsearch's profile of the legs."""
    plan: dict[str, str] = field(default_factory=dict)
    """The chosen execution of each leg, with the reason."""
    failed_shards: dict[tuple[Any, Any], dict[str, Any]] = field(default_factory=dict)
    """Failures of all requests, by index and shard, as Elasticsearch describes them."""
    timed_out: bool = False
    pit_id: str | None = None
    preference: str = field(default_factory=lambda: secrets.token_hex(8))
    """Unless the caller names one. The same copy of a shard answers all requests of the search: copies differ in scores and in the
    order of equal scores. A point in time has its own copies."""

    async def raw(
        self,
        step: str,
        bodies: Sequence[dict[str, Any]],
        *,
        named_scores: bool = False,
        indices: Sequence[Sequence[str]] = (),
        has_documents: bool = True,
    ) -> list[dict[str, Any]]:
        """A response for each body; a failed one contains an `error`. `indices`: of each body; none: the search's target.
        `has_documents`: see `Upstream.post`."""
        if not bodies:
            return []
        began = time.perf_counter()
        index = {"index": self.target} if self.target and self.search.pit is None else {}
        preference = {"preference": self.preference} if self.search.pit is None else {}
        header = {**index, **preference, **self.parameters.header}
        headers = [
            {**header, "index": ",".join(own)} if own and self.search.pit is None else header
            for own in indices or [()] * len(bodies)
        ]
        params = {key: value for key, value in self.parameters.response.items() if key == "typed_keys"}
        if named_scores:
            params["include_named_queries_score"] = "true"
        answer = await self.upstream.post(
            "/_msearch", headers=self.caller.headers, params=params,
            body=[line for pair in zip(headers, bodies, strict=True) for line in pair], has_documents=has_documents,
        )  # fmt: skip
        self.headers.update(answer.headers)
        self.took(step, began, searches=len(bodies))
        responses: list[dict[str, Any]] = answer.body["responses"]
        for response in responses:
            self.timed_out |= bool(response.get("timed_out"))
            self.pit_id = response.get("pit_id", self.pit_id)
            for failure in _failures(response):
                self.failed_shards.setdefault((failure.get("index"), failure.get("shard")), failure)
            self.shards += (response.get("profile") or {}).get("shards", [])
        return responses

    async def ask(
        self, step: str, bodies: Sequence[dict[str, Any]], *, named_scores: bool = False
    ) -> list[dict[str, Any]]:
        """A response for each body. Raises UpstreamError with Elasticsearch's error when one failed."""
        return [whole(response) for response in await self.raw(step, bodies, named_scores=named_scores)]

    async def legs(
        self,
        kinds: Sequence[LegKind],
        bodies: Sequence[dict[str, Any]],
        *,
        named_scores: bool = False,
        indices: Sequence[Sequence[str]] = (),
    ) -> list[dict[str, Any]]:
        """As `raw`, for the legs; records the time that Elasticsearch reports for each leg."""
        responses = await self.raw("legs", bodies, named_scores=named_scores, indices=indices, has_documents=False)
        # A caller who may search an alias has no right to name its indices: the legs' filters choose the documents then.
        denied = [n for n, response in enumerate(responses) if indices and indices[n] and response.get("status") == 403]
        if denied:
            again = await self.raw("legs", [bodies[n] for n in denied], named_scores=named_scores, has_documents=False)
            for n, response in zip(denied, again, strict=True):
                responses[n] = response
        for kind, response in zip(kinds, responses, strict=True):
            if "took" in response:
                LEG_SECONDS.labels(kind).observe(response["took"] / 1000)
            failures = _failures(response)
            if failures:
                shards = response["_shards"]
                cause = (failures[0].get("reason") or {}).get("reason", "no reason given")
                self.degrade(kind, f"{shards['failed']} of {shards['total']} shards failed: {cause}")
        return responses

    def reported(self) -> Reported:
        """What has been reported so far, for `begin_again`."""
        return Reported(len(self.degraded), len(self.shards), self.timed_out)

    def begin_again(self, before: Reported) -> None:
        """Forget what an abandoned attempt reported; the next one reports it again."""
        del self.degraded[before.degraded :], self.shards[before.shards :]
        self.timed_out = before.timed_out

    def took(self, step: str, began: float, **attributes: int) -> None:
        """Record a step that began at `began` (performance counter)."""
        seconds = time.perf_counter() - began
        STEP_SECONDS.labels(step).observe(seconds)
        past_span(step, seconds, attributes)
        self.steps.append({"step": step, "took_ms": round(seconds * 1000, 2), **attributes})

    def degrade(self, leg: str, reason: str) -> None:
        """Continue without a leg. Raises EsblendError (503) when the caller requires all legs."""
        if self.search.fails_without_leg:
            raise LegFailed(f"[{leg}] failed, and [on_leg_failure] is [fail]: {reason}")
        DEGRADED.labels(leg if leg in _PARTS else "retriever").inc()  # a leg's name is the caller's to choose
        self.degraded.append(f"{leg}: {reason}")


def merged_shards(shards: Mapping[str, Any], failed: Mapping[tuple[Any, Any], dict[str, Any]]) -> dict[str, Any]:
    """`_shards` of the page's request with the failures of every request of the search. A shard counts as failed once."""
    if not failed:
        return dict(shards)
    count = max(len(failed), shards["failed"])
    successful = max(0, shards["total"] - count)
    return {**shards, "successful": successful, "failed": count, "failures": list(failed.values())}


def _failures(response: Mapping[str, Any]) -> list[dict[str, Any]]:
    failures: list[dict[str, Any]] = (response.get("_shards") or {}).get("failures", [])
    return failures


def whole(response: dict[str, Any]) -> dict[str, Any]:
    """One response of an `_msearch`. Raises UpstreamError with Elasticsearch's error when it failed."""
    if "error" in response:
        raise UpstreamError(
            int(response.get("status", 500)), {"error": response["error"], "status": response.get("status", 500)}
        )
    return response


def scores_of(response: Mapping[str, Any]) -> dict[Key, float]:
    """A response's hits as a ranked list; a hit without a score, since it was sorted by other keys, counts as 0."""
    hits = response["hits"]["hits"]
    return dict(zip(keys_of_hits(hits), [float(hit["_score"] or 0.0) for hit in hits], strict=True))


async def ranked_lists(responses: Sequence[Mapping[str, Any]]) -> list[dict[Key, float]]:
    """`scores_of` each response; of many hits in a thread."""
    is_long = sum(len(response["hits"]["hits"]) for response in responses) > MANY_CANDIDATES
    return await off_loop(is_long, lambda: list(map(scores_of, responses)))


def server_fault(response: dict[str, Any]) -> str | None:
    """The reason of a failure that the server caused; None for a success, or when the request caused the failure."""
    if "error" in response and int(response.get("status", 500)) >= 500:
        return str(response["error"].get("reason", "the search failed"))
    return None
