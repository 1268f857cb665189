"""Adds the texts of passages to a response whose `semantic` clauses have `inner_hits`."""

from typing import Any

from starlette.types import Scope

from esblend.event_loop import off_loop
from query.gateway.context import GatewayContext
from query.gateway.embed_texts import Changes
from query.language.search_body import common_options
from query.language.tree import Hybrid, Search
from query.language.url_parameters import clause_parameters
from query.page.hits import every_hit, key_of
from query.page.passages import MANY_PASSAGES, add_passage_texts, highlight_from
from query.plan.documents import source_body
from query.run.requests import SearchRequests


async def add_texts(
    context: GatewayContext, scope: Scope, target: str, parameters: dict[str, str], body: dict[str, Any], changes: Changes,
    response: dict[str, Any],
) -> None:  # fmt: skip
    """Read the texts with the caller's rights and cut the passages out of them, in place. Raises EsblendError."""
    if not changes.shows_passages or changes.attachment is None:
        return
    hits = [hit for hit in every_hit((response.get("hits") or {}).get("hits") or []) if "_id" in hit]
    if not hits:
        return
    search = Search(Hybrid(()), common=common_options(body))
    requests = SearchRequests(context.upstream, context.caller(scope), target, clause_parameters(parameters), search)
    keys = [key_of(hit) for hit in hits]
    [sources] = await requests.ask("passages", [source_body(keys, changes.attachment.source_fields, search)])
    await off_loop(len(hits) > MANY_PASSAGES, add_passage_texts, hits, sources, changes.attachment)
    for hit in hits if changes.highlights else ():
        highlight_from(hit, changes.highlighted_from, changes.highlights)
