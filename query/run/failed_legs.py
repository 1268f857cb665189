"""Errors of a retriever's legs, in the shape that Elasticsearch's compound retrievers give them."""

from collections.abc import Iterator, Sequence
from typing import Any

from esblend.errors import UpstreamError
from query.language.tree import Leaf, Leg, inside, kind_of
from query.run.requests import whole

Response = dict[str, Any]


def raise_failures(tree: Leg, responses: Sequence[Response | None]) -> None:
    """Raises UpstreamError if a leaf failed. `responses`: of each leaf; None for one that counts as empty.

    When shards fail, the innermost retriever around them names its failed legs; each leg's error is in `suppressed`. Other
    errors, such as a missing index, are Elasticsearch's own.
    """
    failed = [response for response in responses if response is not None and "error" in response]
    if not failed:
        return
    if any(response["error"].get("type") != "search_phase_execution_exception" for response in failed):
        for response in failed:
            whole(response)
    for around, legs in _around_leaves(tree, enumerate(responses)):
        errors = [(leg, response) for leg, response in legs if response is not None and "error" in response]
        if errors:
            raise _failure(kind_of(around), errors)
    whole(failed[0])  # the tree is a single leaf


def _around_leaves(
    leg: Leg, responses: Iterator[tuple[int, Response | None]]
) -> list[tuple[Leg, list[tuple[Leaf, Response | None]]]]:
    """Each retriever with the leaves directly below it, inner ones first."""
    own: list[tuple[Leaf, Response | None]] = []
    below: list[tuple[Leg, list[tuple[Leaf, Response | None]]]] = []
    for inner in inside(leg):
        if isinstance(inner, Leaf):
            own.append((inner, next(responses)[1]))
        else:
            below += _around_leaves(inner, responses)
    return [*below, (leg, own)]


def _failure(kind: str, errors: Sequence[tuple[Leaf, Response]]) -> UpstreamError:
    names = ", ".join(kind_of(leg) for leg, _ in errors)
    status = max(int(response.get("status", 500)) for _, response in errors)
    reason = f"[{kind}] search failed - retrievers '[{names}]' returned errors. All failures are attached as suppressed exceptions."
    suppressed = [
        {key: value for key, value in response["error"].items() if key != "root_cause"} for _, response in errors
    ]
    shown = {"type": "status_exception", "reason": reason, "suppressed": suppressed}
    return UpstreamError(status, {"error": {"root_cause": [shown], **shown}, "status": status})


def has_too_many_clauses(error: UpstreamError) -> bool:
    """Whether a query has more clauses than Elasticsearch allows."""
    text = repr(error.body())
    return "too_many_nested_clauses" in text or "too_many_clauses" in text
