"""Decides which searches esblend executes and which Elasticsearch executes by itself.

`hybrid` is always esblend's. A retriever tree is Elasticsearch's where `ESBLEND_RETRIEVERS` says so, and where the server
executes it on any licence.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.types import Scope

from esblend.errors import NotAttached
from query.gateway.context import GatewayContext
from query.language.rank import holds_rank
from query.language.retrievers import PAID, kinds_of
from query.language.search_body import fuses_legs
from query.run.server_retrievers import server_executes
from query.targets.target import Target


async def is_answered_here(
    context: GatewayContext, scope: Scope, body: dict[str, Any], target: str, parameters: Mapping[str, str]
) -> bool:
    """Whether esblend executes a search. Raises EsblendError when its indices cannot be read."""
    if not fuses_legs(body, parameters):
        return False
    retriever = body.get("retriever")
    if not holds_rank(body) and not isinstance(retriever, dict):
        return True  # `hybrid`
    if context.settings.retrievers == "never":
        return False

    async def targets() -> Sequence[Target]:
        return await _attached(context, scope, body, target, parameters)

    if isinstance(retriever, dict) and not kinds_of(retriever) & PAID:
        return not await server_executes(retriever, await context.version(scope), targets)
    return context.settings.retrievers == "always" or bool(await targets())


async def _attached(
    context: GatewayContext, scope: Scope, body: dict[str, Any], target: str, parameters: Mapping[str, str]
) -> Sequence[Target]:
    """The attached indices of a search."""
    requester, searched = await context.searched(scope, body, target, parameters)
    try:
        return await context.metadata.targets(requester, searched)
    except NotAttached:
        return []
