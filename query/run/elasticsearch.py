"""HTTP connections from the gateway to its Elasticsearch, and the JSON requests that a search sends over them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from esblend import exact_json
from esblend.errors import UpstreamError, UpstreamUnavailable
from esblend.event_loop import LARGE_BODY, off_loop
from esblend.settings import Settings
from esblend.tls import tls_context
from query.run.search_connections import SearchConnections

# RFC 9110, section 7.6.1: these headers belong to one connection.
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
_NDJSON = ((b"content-type", b"application/x-ndjson"), (b"accept", b"application/json"))
_SHOWN = frozenset((b"warning", b"www-authenticate"))
RawHeaders = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True)
class ElasticsearchResponse:
    """A JSON response of Elasticsearch, and the headers that the caller should see."""

    body: dict[str, Any]
    headers: Mapping[str, str]


class Upstream:
    """Connections to Elasticsearch. Redirects are not followed and paths are sent unchanged, so that no other host is ever
    reached."""

    def __init__(self, settings: Settings) -> None:
        self._base = settings.es_url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=settings.gateway_answer_seconds)
        self._connections = settings.gateway_connections
        self._tls = tls_context(settings)
        self._session: aiohttp.ClientSession | None = None
        self.searches = SearchConnections(
            self._base, tls=self._tls, most=self._connections, silence_seconds=settings.gateway_answer_seconds
        )

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections, ssl=self._tls or True, keepalive_timeout=60),
            timeout=self._timeout,
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        await self.searches.close()
        if self._session:
            await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("open() has not been called")
        return self._session

    async def post(
        self, path: str, *, headers: RawHeaders, params: Mapping[str, str], body: Sequence[Any] | bytes,
        has_documents: bool = True,
    ) -> ElasticsearchResponse:  # fmt: skip
        """Send an `_msearch` with the caller's headers: lines of JSON, or bytes of such lines. `has_documents`: whether the
        response contains values of documents, whose long numbers are kept.

        Raises UpstreamError on an error status, UpstreamUnavailable without a response of Elasticsearch.
        """
        sent = [pair for pair in headers if pair[0].lower() not in _NOT_FOR_OWN_REQUESTS]
        query = f"?{urlencode(params)}" if params else ""
        try:
            response = await self.searches.post(path + query, [*sent, *_NDJSON], _encoded(body))
        except OSError as error:
            raise UpstreamUnavailable("the gateway cannot reach Elasticsearch") from error
        shown = _shown(response.headers)
        content = await off_loop(len(response.body) > LARGE_BODY, _parse, response.body, has_documents)
        if response.status >= 400:
            raise UpstreamError(response.status, content)
        if not isinstance(content.get("responses"), list):  # a redirect or a page, from a proxy
            raise UpstreamUnavailable(
                f"the server at the gateway's Elasticsearch address sent no search results, but status {response.status}"
                " with other content; check ESBLEND_ES_URL and the proxies on the way"
            )
        return ElasticsearchResponse(content, shown)

    async def is_reachable(self) -> bool:
        """Whether Elasticsearch answers. 401 counts: the server is up."""
        try:
            async with self.session.get(self._base + "/", timeout=aiohttp.ClientTimeout(total=5)) as response:
                return response.status < 500
        except (aiohttp.ClientError, TimeoutError):
            return False

    def url(self, target: str) -> URL:
        """The address of a path with its query string, both sent unchanged."""
        return URL(self._base + target, encoded=True)


def _shown(headers: RawHeaders) -> dict[str, str]:
    """The headers that the caller should see, byte for byte; several with one name become a list (RFC 9110, section 5.3)."""
    values: dict[str, list[str]] = {}
    for name, value in headers:
        if name.lower() in _SHOWN:
            values.setdefault(name.decode().title(), []).append(value.decode("latin-1"))
    return {name: ", ".join(several) for name, several in values.items()}


def header_text(raw: bytes) -> str:
    """A caller's header for a client that sends UTF-8: the same bytes arrive if they are UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _encoded(body: Sequence[Any] | bytes) -> bytes:
    return body if isinstance(body, bytes) else b"".join(exact_json.dumps(line) + b"\n" for line in body)


def _parse(raw: bytes, has_documents: bool) -> dict[str, Any]:
    try:
        content = exact_json.loads(raw, keeps_digits=has_documents)
    except ValueError:
        return {
            "error": {"root_cause": [], "type": "upstream_exception", "reason": raw[:500].decode("utf-8", "replace")}
        }
    return (
        content
        if isinstance(content, dict)
        else {"error": {"root_cause": [], "type": "upstream_exception", "reason": str(content)[:500]}}
    )
