"""Whose rights the gateway's own endpoints use.

Everything about a user's index is done with the caller's rights. What esblend keeps for itself (checkpoints, dead letters) is read
and written with the gateway's, once Elasticsearch has said that the caller may do as much with the index that it is about.
"""

from collections.abc import Callable, Iterable

from elasticsearch import ApiError, AsyncElasticsearch
from starlette.requests import Request

from esblend.errors import Forbidden

READ, MANAGE = "read", "manage"


class Access:
    """`as_caller(request)` gives a client with the credentials of whoever sent the request. `own`: the gateway's own client, None
    where it has no credentials; then the caller's stands in for it."""

    def __init__(self, as_caller: Callable[[Request], AsyncElasticsearch], own: AsyncElasticsearch | None) -> None:
        self.as_caller = as_caller
        self._own = own

    def own(self, request: Request) -> AsyncElasticsearch:
        """A client for esblend's own indices; ask `require` or `permitted` first."""
        return self._own or self.as_caller(request)

    async def require(self, request: Request, index: str, privilege: str) -> None:
        """Raises Forbidden unless the caller has `privilege` on `index`."""
        if not await self.permitted(request, [index], privilege):
            raise Forbidden(f"the caller lacks the privilege [{privilege}] on index [{index}]")

    async def permitted(self, request: Request, indices: Iterable[str], privilege: str) -> list[str]:
        """Those of `indices` on which the caller has `privilege`. Raises ApiError when its credentials are not valid."""
        names = list(indices)
        if self._own is None or not names:
            return names  # Elasticsearch itself decides, since the caller's client is used
        asked = [{"names": names, "privileges": [privilege]}]
        try:
            answer = await self.as_caller(request).security.has_privileges(index=asked)
        except ApiError as error:
            if _says_security_is_off(error):  # then everybody may do everything
                return names
            raise
        return [name for name in names if answer["index"].get(name, {}).get(privilege)]


def _says_security_is_off(error: ApiError) -> bool:
    """Without security there is no such endpoint, which Elasticsearch tells in a bare string; other errors are objects."""
    reason = error.body.get("error") if isinstance(error.body, dict) else None
    return isinstance(reason, str) and reason.startswith("no handler found for uri [/_security/")
