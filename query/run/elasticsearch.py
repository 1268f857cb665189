"""HTTP connections from the gateway to its Elasticsearch, and the JSON requests that a search sends over them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from esblend import exact_json
from esblend.errors import UpstreamError, UpstreamUnavailable
from esblend.event_loop import LARGE_BODY, off_loop
from esblend.settings import Settings
from esblend.tls import tls_context

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
            raise RuntimeError("open() has not been called")
        return self._session

    async def request(
        self, method: str, path: str, *, headers: RawHeaders, params: Mapping[str, str] | None = None, body: Any = None
    ) -> ElasticsearchResponse:
        """Send JSON with the caller's headers; a list is sent as NDJSON, and bytes are NDJSON already.

        Raises UpstreamError on an error status, UpstreamUnavailable without a response.
        """
        callers_headers = [
            (header_text(n), header_text(v)) for n, v in headers if n.lower() not in _NOT_FOR_OWN_REQUESTS
        ]
        data = _encoded(body)
        content_type = "application/x-ndjson" if isinstance(body, bytes | list) else "application/json"
        url = self.url(path).update_query(params or {})
        try:
            async with self.session.request(
                method,
                url,
                headers=[*callers_headers, ("Content-Type", content_type), ("Accept", "application/json")],
                data=data,
                allow_redirects=False,
            ) as response:
                raw = await response.read()
                shown_headers = {
                    name: value
                    for name, value in response.headers.items()
                    if name.lower() in ("x-elastic-product", "warning", "www-authenticate")
                }
                content = await off_loop(len(raw) > LARGE_BODY, _parse, raw)
                if response.status >= 400:
                    raise UpstreamError(response.status, content)
                return ElasticsearchResponse(content, shown_headers)
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as error:
            raise UpstreamUnavailable("the gateway cannot reach Elasticsearch") from error

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


def header_text(raw: bytes) -> str:
    """A caller's header for a client that sends UTF-8: the same bytes arrive if they are UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _encoded(body: Any) -> bytes:
    if isinstance(body, bytes):
        return body
    if isinstance(body, list):
        return b"".join(exact_json.dumps(line) + b"\n" for line in body)
    return exact_json.dumps(body)


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        content = exact_json.loads(raw)
    except ValueError:
        return {
            "error": {"root_cause": [], "type": "upstream_exception", "reason": raw[:500].decode("utf-8", "replace")}
        }
    return (
        content
        if isinstance(content, dict)
        else {"error": {"root_cause": [], "type": "upstream_exception", "reason": str(content)[:500]}}
    )
