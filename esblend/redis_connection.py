"""Connections to Redis or Valkey: plain, with TLS, or to the master that Sentinels name."""

from typing import Any
from urllib.parse import urlsplit

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.sentinel import Sentinel

from esblend.errors import InvalidRequest
from esblend.settings import Settings

_SENTINEL_PORT = 26379


def connect_redis(settings: Settings, *, timeout: float) -> Redis:
    """A client, which connects at its first command. `timeout`: seconds to connect and to wait for a reply.

    `redis://`, `rediss://` (TLS; certificates are always checked, against `redis_ca_certs` where it is set), or
    `sentinel://host:port;sentinel://host:port` with `redis_sentinel_master`. Raises InvalidRequest when that is not set.
    """
    if not _is_sentinel(settings):
        return Redis.from_url(settings.redis_url, **_timeouts(timeout), **_tls(settings))
    sentinel = Sentinel(_sentinels(settings), sentinel_kwargs=_timeouts(timeout), **_timeouts(timeout))  # type: ignore[no-untyped-call]
    master: Redis = sentinel.master_for(_master(settings), **_credentials(settings))  # type: ignore[no-untyped-call]
    return master


def connect_redis_async(settings: Settings, *, timeout: float) -> AsyncRedis:
    """The asyncio form of `connect_redis`."""
    if not _is_sentinel(settings):
        return AsyncRedis.from_url(settings.redis_url, **_timeouts(timeout), **_tls(settings))
    sentinel = AsyncSentinel(_sentinels(settings), sentinel_kwargs=_timeouts(timeout), **_timeouts(timeout))  # type: ignore[no-untyped-call]
    master: AsyncRedis = sentinel.master_for(_master(settings), **_credentials(settings))
    return master


def celery_options(settings: Settings) -> dict[str, Any]:
    """Options with which Celery's transport reaches the same Redis."""
    if not _is_sentinel(settings):
        return {}
    return {"master_name": _master(settings)}


def celery_tls(settings: Settings) -> dict[str, Any] | None:
    """TLS options for Celery, for the same certificates; None without TLS."""
    return _tls(settings) or None


def _is_sentinel(settings: Settings) -> bool:
    return settings.redis_url.startswith("sentinel://")


def _timeouts(seconds: float) -> dict[str, Any]:
    return {"socket_timeout": seconds, "socket_connect_timeout": seconds}


def _sentinels(settings: Settings) -> list[tuple[str, int]]:
    addresses = map(urlsplit, settings.redis_url.split(";"))
    return [(address.hostname or "localhost", address.port or _SENTINEL_PORT) for address in addresses]


def _credentials(settings: Settings) -> dict[str, Any]:
    """Credentials and database of the master, from the first address."""
    first = urlsplit(settings.redis_url.split(";")[0])
    return {"username": first.username or None, "password": first.password, "db": int(first.path.strip("/") or 0)}


def _master(settings: Settings) -> str:
    if settings.redis_sentinel_master is None:
        raise InvalidRequest("ESBLEND_REDIS_URL names Sentinels: name their master in ESBLEND_REDIS_SENTINEL_MASTER")
    return settings.redis_sentinel_master


def _tls(settings: Settings) -> dict[str, Any]:
    if not settings.redis_url.startswith("rediss://"):
        return {}
    trusted = {"ssl_ca_certs": str(settings.redis_ca_certs)} if settings.redis_ca_certs else {}
    return {"ssl_cert_reqs": "required", "ssl_check_hostname": True, **trusted}
