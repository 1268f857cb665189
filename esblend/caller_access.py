"""The privileges that esblend's endpoints use.

Endpoints read and change a user's index with the caller's credentials. They read and write esblend's own indices (checkpoints, dead
letters) with the gateway's, after Elasticsearch has confirmed the caller's privilege on the index in question.
"""

from collections.abc import Callable, Iterable

from elasticsearch import ApiError, AsyncElasticsearch
from starlette.requests import Request

from esblend.errors import Forbidden

READ, MANAGE = "read", "manage"


class Access:
    """`as_caller(request)` returns a client with the credentials of the request. `own` is the gateway's own client, or None
    without credentials; then the caller's client takes its place."""

    def __init__(self, as_caller: Callable[[Request], AsyncElasticsearch], own: AsyncElasticsearch | None) -> None:
        self.as_caller = as_caller
        self._own = own

    def own(self, request: Request) -> AsyncElasticsearch:
        """A client for esblend's own indices. Call `require` or `permitted` first."""
        return self._own or self.as_caller(request)

    async def require(self, request: Request, index: str, privilege: str) -> None:
        """Raises Forbidden unless the caller has `privilege` on `index`."""
        if not await self.permitted(request, [index], privilege):
            raise Forbidden(f"the caller lacks the privilege [{privilege}] on index [{index}]")

    async def permitted(self, request: Request, indices: Iterable[str], privilege: str) -> list[str]:
        """The indices on which the caller has `privilege`, among `indices`. Raises ApiError when its credentials are not valid."""
        names = list(indices)
        if self._own is None or not names:
            return names  # Elasticsearch decides, since the caller's client is used
        privileges = [{"names": names, "privileges": [privilege]}]
        try:
            response = await self.as_caller(request).security.has_privileges(index=privileges)
        except ApiError as error:
            if _says_security_is_off(error):  # without security all callers have all privileges
                return names
            raise
        return [name for name in names if response["index"].get(name, {}).get(privilege)]


def _says_security_is_off(error: ApiError) -> bool:
    """Without security the endpoint does not exist, and Elasticsearch's error is a string; other errors are objects."""
    reason = error.body.get("error") if isinstance(error.body, dict) else None
    return isinstance(reason, str) and reason.startswith("no handler found for uri [/_security/")
