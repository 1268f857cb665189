"""Connections to Redis or Valkey, made one way everywhere: plain, by TLS, or to the master that Sentinels name."""

from typing import Any
from urllib.parse import urlsplit

from redis import Redis
from redis.sentinel import Sentinel

from esblend.errors import InvalidRequest
from esblend.settings import Settings

_SENTINEL_PORT = 26379


def connect_redis(settings: Settings, *, timeout: float) -> Redis:
    """A client; nothing is sent yet. `timeout`: seconds for a connection and for an answer.

    `redis://`, `rediss://` (TLS; certificates are always checked, against `redis_ca_certs` where it is set), or
    `sentinel://host:port;sentinel://host:port` with `redis_sentinel_master`. Raises InvalidRequest when that is not set.
    """
    url = settings.redis_url
    options: dict[str, Any] = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
    if not url.startswith("sentinel://"):
        return Redis.from_url(url, **options, **_tls(settings))
    places = [urlsplit(one) for one in url.split(";")]
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        [(place.hostname or "localhost", place.port or _SENTINEL_PORT) for place in places],
        sentinel_kwargs=options,
        **options,
    )
    first = places[0]
    master: Redis = sentinel.master_for(  # type: ignore[no-untyped-call]
        _master(settings), username=first.username or None, password=first.password, db=int(first.path.strip("/") or 0)
    )
    return master


def celery_options(settings: Settings) -> dict[str, Any]:
    """What Celery's transport must know to reach the same Redis."""
    if not settings.redis_url.startswith("sentinel://"):
        return {}
    return {"master_name": _master(settings)}


def celery_tls(settings: Settings) -> dict[str, Any] | None:
    """What Celery must know to trust the same certificates; None where there is no TLS."""
    return _tls(settings) or None


def _master(settings: Settings) -> str:
    if settings.redis_sentinel_master is None:
        raise InvalidRequest("ESBLEND_REDIS_URL names Sentinels: name their master in ESBLEND_REDIS_SENTINEL_MASTER")
    return settings.redis_sentinel_master


def _tls(settings: Settings) -> dict[str, Any]:
    if not settings.redis_url.startswith("rediss://"):
        return {}
    trusted = {"ssl_ca_certs": str(settings.redis_ca_certs)} if settings.redis_ca_certs else {}
    return {"ssl_cert_reqs": "required", **trusted}
