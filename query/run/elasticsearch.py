"""The one configured Elasticsearch behind the gateway: streams requests through, and sends the gateway's own."""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from starlette.types import Scope, Send
from yarl import URL

from esblend import surrogate_json
from esblend.errors import EsblendError, InvalidRequest, UpstreamError, UpstreamUnavailable
from esblend.settings import Settings
from esblend.tls import tls_context

# RFC 9110, section 7.6.1: these speak of one connection only.
HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te", b"trailer",
     b"transfer-encoding", b"upgrade")
)  # fmt: skip
_NOT_FOR_OWN_REQUESTS = HOP_BY_HOP | {
    b"host",
    b"content-length",
    b"content-type",
    b"content-encoding",
    b"accept",
    b"accept-encoding",
}
RawHeaders = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Answer:
    """A JSON answer of Elasticsearch, with the headers that a caller should see."""

    body: dict[str, Any]
    headers: Mapping[str, str]


class Upstream:
    """Connections to Elasticsearch. Redirects are not followed and paths are sent as they came, so nothing but the
    configured host is ever reached."""

    def __init__(self, settings: Settings) -> None:
        self._base = settings.es_url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=settings.gateway_answer_seconds)
        self._connections = settings.gateway_connections
        self._tls = tls_context(settings)
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections, ssl=self._tls or True, keepalive_timeout=60),
            timeout=self._timeout,
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the upstream is not open")
        return self._session

    async def forward(self, scope: Scope, body: AsyncIterator[bytes] | bytes | None, send: Send) -> None:
        """Pass a request through and its answer back, byte for byte, in constant memory."""
        headers = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"] if not _is_hop(name)
        ]
        try:
            async with self.session.request(
                scope["method"], self._url(scope), headers=headers, data=body, allow_redirects=False
            ) as answer:
                raw = [(name.lower(), value) for name, value in answer.raw_headers if not _is_hop(name)]
                await send({"type": "http.response.start", "status": answer.status, "headers": raw})
                async for chunk in answer.content.iter_any():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except aiohttp.ClientConnectionError as error:
            if isinstance(error.__cause__, EsblendError | ConnectionResetError):
                raise error.__cause__ from error  # the caller's part of it failed, not Elasticsearch's
            raise UpstreamUnavailable("Elasticsearch cannot be reached by the gateway") from error

    async def request(
        self, method: str, path: str, *, headers: RawHeaders, params: Mapping[str, str] | None = None, body: Any = None
    ) -> Answer:
        """Send JSON (or, for a list, NDJSON) with the caller's own headers. Raises UpstreamError on an error status."""
        own = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in headers if n.lower() not in _NOT_FOR_OWN_REQUESTS]
        data = (
            b"".join(surrogate_json.dumps(line) + b"\n" for line in body)
            if isinstance(body, list)
            else surrogate_json.dumps(body)
        )
        kind = "application/x-ndjson" if isinstance(body, list) else "application/json"
        url = URL(self._base + path, encoded=True).update_query(params or {})
        try:
            async with self.session.request(
                method,
                url,
                headers=[*own, ("Content-Type", kind), ("Accept", "application/json")],
                data=data,
                allow_redirects=False,
            ) as answer:
                raw = await answer.read()
                headers_back = {
                    name: value
                    for name, value in answer.headers.items()
                    if name.lower() in ("x-elastic-product", "warning", "www-authenticate")
                }
                content = _parse(raw)
                if answer.status >= 400:
                    raise UpstreamError(answer.status, content)
                return Answer(content, headers_back)
        except (aiohttp.ClientConnectionError, TimeoutError) as error:
            raise UpstreamUnavailable("Elasticsearch cannot be reached by the gateway") from error

    async def is_reachable(self) -> bool:
        """Whether something answers as Elasticsearch does; a refusal for lack of credentials counts."""
        try:
            async with self.session.get(self._base + "/", timeout=aiohttp.ClientTimeout(total=5)) as answer:
                return answer.status < 500
        except (aiohttp.ClientError, TimeoutError):
            return False

    def _url(self, scope: Scope) -> URL:
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        if not raw.startswith(b"/"):  # it would become part of the host's name
            raise InvalidRequest("the request's target must be a path")
        query: bytes = scope["query_string"]
        target = raw.decode("latin-1") + (f"?{query.decode('latin-1')}" if query else "")
        return URL(self._base + target, encoded=True)


def _is_hop(name: bytes) -> bool:
    return name.lower() in HOP_BY_HOP


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        content = surrogate_json.loads(raw)
    except ValueError:
        return {
            "error": {"root_cause": [], "type": "upstream_exception", "reason": raw[:500].decode("utf-8", "replace")}
        }
    return (
        content
        if isinstance(content, dict)
        else {"error": {"root_cause": [], "type": "upstream_exception", "reason": str(content)[:500]}}
    )
