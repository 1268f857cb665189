"""Checks an installation: servers, privileges, limits, models. Each check that fails gives advice."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, Literal

from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from esblend.broker import LANES, make_celery, queue_name
from esblend.cli.console import counted
from esblend.elasticsearch_connection import connect, connect_async
from esblend.encoder.folder import find_model
from esblend.errors import EsblendError, InvalidRequest
from esblend.plugins import ENCODERS, find, kind_and_name
from esblend.redis_connection import connect_redis
from esblend.settings import Settings
from indexer.care.feed_life import FeedLife, read_feed_life
from indexer.care.status import HAND_OVER, NOT_FOLLOWED
from indexer.feed.checkpoints import checkpoint_id
from mappings.attachment import Attachment, ModelIdentity, is_attached, is_damaged, read_attachment
from mappings.attachment_copies import CHECKPOINTS_INDEX
from mappings.builder import expected_properties, has_lost_attachment
from mappings.dead_letter_index import DEAD_LETTERS_INDEX
from mappings.guard import GUARD_PIPELINES, guard_pipelines_in
from mappings.mean_vector_store import MEAN_VECTORS_INDEX
from mappings.problems import current_problems

_OLDEST = (8, 14)
_CLOCK_SECONDS = 30
_RIGHTS = ["read", "write", "view_index_metadata", "monitor", "maintenance"]


@dataclass(frozen=True)
class Check:
    """The result of one check. `advice` is empty when the outcome is ok."""

    name: str
    outcome: Literal["ok", "warning", "failure"]
    detail: str
    advice: str = ""


def examine(settings: Settings) -> Iterator[Check]:
    """All checks in order; checks that need an unavailable server are left out."""
    yield from _redis(settings)
    yield from _rabbitmq(settings)
    with connect(settings) as es:
        es = es.options(request_timeout=10, max_retries=0)
        try:
            info = es.info()
        except (ApiError, TransportError) as error:
            yield Check(
                "Elasticsearch", "failure", f"{settings.es_url} does not respond as expected: {error}",
                "start it, or set ESBLEND_ES_URL and the credentials",
            )  # fmt: skip
            return
        yield _version(info["version"]["number"], settings)
        for check in (_licence, _health, _clock, _watermarks, _rights):
            yield from _guarded(check, es)
        yield from _guarded(lambda es: _indices(es, settings), es)


def _guarded(check: Callable[[Elasticsearch], Iterator[Check]], es: Elasticsearch) -> Iterator[Check]:
    """Report a missing privilege, and continue with the other checks."""
    try:
        yield from check(es)
    except ApiError as error:
        name = getattr(check, "__name__", "indices").strip("_<>") or "check"
        yield Check(name, "warning", f"could not be checked: {error.error}", "grant this user the privilege [monitor]")


def _redis(settings: Settings) -> Iterator[Check]:
    try:
        with connect_redis(settings, timeout=5) as redis:
            memory: Any = redis.info("memory")
            waiting = {lane: int(redis.llen(queue_name(lane))) for lane in LANES}
    except (RedisError, OSError) as error:
        yield Check(
            "Redis", "failure", f"cannot be reached: {type(error).__name__}", "start it, or set ESBLEND_REDIS_URL"
        )
        return
    policy = str(memory.get("maxmemory_policy", "noeviction"))
    if policy.startswith("allkeys"):
        advice = "CONFIG SET maxmemory-policy noeviction, or give esblend a separate Redis; workers do not start with this one"
        yield Check("Redis", "failure", f"maxmemory-policy [{policy}] may evict queued tasks", advice)
    else:
        tasks = ", ".join(f"{count} {lane}" for lane, count in waiting.items())
        yield Check("Redis", "ok", f"maxmemory-policy {policy}; waiting tasks: {tasks}")
    limit, used = int(memory.get("maxmemory") or 0), int(memory.get("used_memory") or 0)
    if limit and used > 0.8 * limit:
        yield Check("Redis memory", "warning", f"{used} of {limit} bytes are used", "raise maxmemory")


def _rabbitmq(settings: Settings) -> Iterator[Check]:
    if settings.broker_url is None:
        return
    app = make_celery(settings)
    try:
        with app.connection_for_read(connect_timeout=5) as connection:
            connection.ensure_connection(max_retries=1)
            waiting = {lane: _waiting(connection, queue_name(lane)) for lane in LANES}
    except (OperationalError, OSError) as error:
        advice = "start it, or set ESBLEND_BROKER_URL; without it the queue is in Redis"
        yield Check("RabbitMQ", "failure", f"cannot be reached: {type(error).__name__}", advice)
        return
    finally:
        app.close()
    yield Check("RabbitMQ", "ok", "waiting tasks: " + ", ".join(f"{count} {lane}" for lane, count in waiting.items()))


def _waiting(connection: Any, queue: str) -> int:
    with connection.channel() as channel:
        try:
            return int(channel.queue_declare(queue=queue, passive=True).message_count)
        except connection.channel_errors:  # the queue does not exist yet
            return 0


def _version(number: str, settings: Settings) -> Check:
    major, minor = (int(part) for part in number.split(".")[:2])
    if (major, minor) < _OLDEST:
        return Check(
            "Elasticsearch", "failure", f"version {number}", f"esblend needs {_OLDEST[0]}.{_OLDEST[1]} or later"
        )
    return Check("Elasticsearch", "ok", f"version {number} at {settings.es_url}")


def _licence(es: Elasticsearch) -> Iterator[Check]:
    licence = es.license.get()["license"]
    if licence["status"] == "active":
        yield Check("licence", "ok", f"{licence['type']}; every licence works")
    else:
        yield Check(
            "licence", "warning", f"{licence['type']} is {licence['status']}", "renew it; search may be refused"
        )


def _health(es: Elasticsearch) -> Iterator[Check]:
    health = es.cluster.health()
    outcome: Literal["ok", "failure"] = "failure" if health["status"] == "red" else "ok"
    advice = "a primary shard is missing: GET _cluster/allocation/explain" if outcome == "failure" else ""
    yield Check("cluster", outcome, f"{health['status']}, {counted(health['number_of_nodes'], 'node')}", advice)


def _clock(es: Elasticsearch) -> Iterator[Check]:
    response = es.perform_request("GET", "/_nodes/stats", params={"filter_path": "nodes.*.name,nodes.*.timestamp"},
                                headers={"accept": "application/json"})  # fmt: skip
    local_time = time.time()
    for node in response.body["nodes"].values():
        difference = node["timestamp"] / 1000 - local_time
        if abs(difference) > _CLOCK_SECONDS:
            advice = "synchronise both clocks by NTP; nothing is lost, but the reported lag is wrong"
            yield Check("clock", "warning", describe_skew(node["name"], difference), advice)
            return
    date = response.meta.headers.get("date")
    yield Check("clock", "ok", f"within {_CLOCK_SECONDS} s" + (f" ({parsedate_to_datetime(date)})" if date else ""))


def describe_skew(node: str, seconds: float) -> str:
    """`seconds`: the node's clock minus the clock of this machine."""
    return f"the clock of node {node} is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} the clock of this machine"


def _watermarks(es: Elasticsearch) -> Iterator[Check]:
    blocked = es.indices.get_settings(
        index="*", name="index.blocks.*", flat_settings=True, expand_wildcards=["open", "hidden"]
    )
    names = sorted(
        index
        for index, body in blocked.items()
        if any(
            value == "true" for key, value in body["settings"].items() if "read_only" in key or key.endswith("write")
        )
    )
    if names:
        advice = 'free disk space, then PUT INDEX/_settings {"index.blocks.read_only_allow_delete": null}'
        yield Check("disk", "warning", f"reject writes: {', '.join(names[:5])}", advice)
    allocation: Any = es.cat.allocation(format="json", bytes="b").body
    for node in allocation:
        percent = int(node.get("disk.percent") or 0)
        if percent >= 85:
            advice = "free disk space: from 95 % on Elasticsearch blocks writes"
            yield Check("disk", "warning", f"node {node.get('node')} is {percent} % full", advice)
            return
    if not names:
        yield Check("disk", "ok", "below the watermarks")


def _rights(es: Elasticsearch) -> Iterator[Check]:
    own_indices = [CHECKPOINTS_INDEX, DEAD_LETTERS_INDEX, MEAN_VECTORS_INDEX]
    try:
        response = es.security.has_privileges(
            cluster=["monitor"],
            index=[
                {"names": own_indices, "privileges": [*_RIGHTS, "create_index"], "allow_restricted_indices": False},
                {"names": ["*"], "privileges": _RIGHTS},
            ],
        )
    except ApiError:
        yield Check("rights", "ok", "Elasticsearch's security is off")
        return
    missing = [f"cluster:{right}" for right, has in response["cluster"].items() if not has]
    missing += [
        f"{name}:{right}" for name, rights in response["index"].items() for right, has in rights.items() if not has
    ]
    has_old_key = any(not has for has in response["index"].get(MEAN_VECTORS_INDEX, {}).values())
    if has_old_key and all(all(response["index"][name].values()) for name in own_indices if name != MEAN_VECTORS_INDEX):
        yield Check(
            "rights", "warning", f"these credentials are of an earlier version: they have no access to [{MEAN_VECTORS_INDEX}], so "
            "each gateway draws its own samples to calibrate the default blend",
            "run `esblend setup-credentials` again, give feed, workers and gateway the new key, and invalidate the old one",
        )  # fmt: skip
        missing = [right for right in missing if not right.startswith(MEAN_VECTORS_INDEX)]
    if missing:
        advice = "grant these to feed and workers on every attached index ([*] means all)"
        yield Check("rights", "warning", f"this user lacks {', '.join(missing[:8])}", advice)
    elif not has_old_key:
        yield Check("rights", "ok", "feed and workers have all privileges they need")


def _indices(es: Elasticsearch, settings: Settings) -> Iterator[Check]:
    mappings = es.indices.get_mapping(index="*", expand_wildcards=["open", "closed", "hidden"]).body
    attached = {index: body["mappings"] for index, body in mappings.items() if is_attached(body["mappings"])}
    for index, body in sorted(mappings.items()):
        if has_lost_attachment(body["mappings"]):
            advice = f"esblend attach {index} --restore, or esblend detach {index}"
            yield Check(index, "failure", "another client has overwritten the attachment in [_meta]", advice)
    if not attached:
        yield Check("attachments", "ok", "no index is attached yet")
    life_of = cache(lambda owner: _feed_life(settings, owner))
    yield from _feed(life_of(None), has_work=bool(attached))
    for index, mapping in sorted(attached.items()):
        try:
            attachment = read_attachment(mapping)
        except InvalidRequest as error:
            advice = "run the esblend that attached it, or a later one"
            if is_damaged(mapping):
                advice += f"; if another client changed it: esblend attach {index} --restore"
            yield Check(index, "failure", error.reason, advice)
            continue
        if attachment is not None:
            yield from _index(es, index, attachment, mapping, settings, life_of)
    yield _model(settings.model, None)


def _feed_life(settings: Settings, owner: str | None) -> FeedLife | None:
    async def read() -> FeedLife | None:
        async with connect_async(settings) as es:
            return await read_feed_life(es, owner)

    return asyncio.run(read())


def _feed(life: FeedLife | None, *, has_work: bool) -> Iterator[Check]:
    if life is None:
        return  # this user may not read heartbeats; the check of the privileges says so
    if life.outage is not None:
        yield Check(
            "feed", "failure", f"no feed works: {life.outage.reason}", "fix the cause; the feeds continue by themselves"
        )
    elif life.is_alive:
        yield Check("feed", "ok", "a feed is running")
    else:
        detail = "no feed is running: new and changed texts get no vectors"
        yield Check("feed", "failure" if has_work else "warning", detail, "start `esblend feed`")


def _index(
    es: Elasticsearch,
    index: str,
    attachment: Attachment,
    mapping: dict[str, Any],
    settings: Settings,
    life_of: Callable[[str | None], FeedLife | None],
) -> Iterator[Check]:
    current = es.indices.get_settings(index=index, flat_settings=True)[index]["settings"]
    pipelines = None
    if attachment.guard:
        pipelines = guard_pipelines_in(es.options(ignore_status=(403, 404)).ingest.get_pipeline(id=GUARD_PIPELINES))
        if pipelines is None:
            detail = "this user lacks cluster:read_pipeline, so a guard's pipeline that another client changes goes unnoticed"
            advice = "grant it, or run `esblend setup-credentials` again and give feed, workers and gateway the new key"
            yield Check(index, "warning", detail, advice)
    problems = current_problems(index, current, mapping, attachment, pipelines)
    paused, owner = _pause(es, current["index.uuid"], attachment)
    life = life_of(owner) if attachment.generation.is_followed else None
    if life is not None and life.has_successor:
        paused = HAND_OVER
        yield Check(index, "warning", HAND_OVER, "wait for it, then repeat this command")
    elif life is not None and not life.is_alive:
        paused = NOT_FOLLOWED
        yield Check(index, "failure", f"{NOT_FOLLOWED}. New and changed texts get no vectors", "start `esblend feed`")
    elif life is not None and life.outage is not None:
        paused = life.outage.reason
        advice = "fix the cause; the feed continues by itself. Until then new texts get no vectors"
        yield Check(index, "failure", f"the feed of this index does not work: {paused}", advice)
    elif paused is not None:
        advice = "fix the cause; the feed continues by itself. Until then new texts get no vectors"
        yield Check(index, "failure", f"the feed has paused this index: {paused}", advice)
    for problem in problems:
        yield Check(index, "failure", problem.detail, problem.advice)
    wrong = _differences(expected_properties(attachment), mapping.get("properties") or {})
    if wrong:
        yield Check(
            index,
            "failure",
            f"the mapping differs from the attachment at {wrong[:3]}",
            "detach it, then attach it again",
        )
    checked = _attached_model(attachment.generation.model, settings)
    if checked.outcome != "ok":
        yield Check(index, checked.outcome, checked.detail, checked.advice)
    if not (problems or wrong or paused) and checked.outcome == "ok":
        yield Check(index, "ok", f"{', '.join(attachment.source_fields)} with {attachment.generation.model.name}")


def _pause(es: Elasticsearch, uuid: str, attachment: Attachment) -> tuple[str | None, str | None]:
    """Why the feed does not read an index at the moment, and which feed follows the index, by its checkpoint."""
    try:
        stored = es.get(index=CHECKPOINTS_INDEX, id=checkpoint_id(uuid, attachment.active))["_source"]
    except ApiError as error:
        if error.meta.status in (403, 404):
            return None, None
        raise
    return stored.get("paused_because"), stored.get("owner")


def _differences(expected: dict[str, Any], present: dict[str, Any], path: str = "") -> list[str]:
    """Dotted names of fields that are missing or of another type or width."""
    differences: list[str] = []
    for name, field in expected.items():
        mapped = present.get(name) or {}
        kinds = {
            key: field.get(key) for key in ("type", "dims", "similarity") if key in field and field[key] != "object"
        }
        if name not in present or any(mapped.get(key) != value for key, value in kinds.items()):
            differences.append(path + name)
        else:
            differences += _differences(field.get("properties") or {}, mapped.get("properties") or {}, f"{path}{name}.")
    return differences


def _attached_model(model: ModelIdentity, settings: Settings) -> Check:
    """Whether this machine has the model of an attachment. A service is asked for its probe vector."""
    if model.probe is None or settings.encoder_url is None:
        return _model(model.name, model.digest)
    from esblend.encoder.registry import Encoders

    try:
        Encoders(settings, "documents").matching(model.name, model.digest, model.probe)
    except EsblendError as error:
        return Check("model", "failure", error.reason, "see ESBLEND_ENCODER_URL")
    return Check("model", "ok", f"{model.name} is the model that {settings.encoder_url} runs")


def _model(name: str, digest: str | None) -> Check:
    kind, _ = kind_and_name(name)
    try:
        if kind is not None:
            find(ENCODERS, kind)
            return Check("model", "ok", f"{name} is a model of the plug-in [{kind}]; it was not tested")
        folder = find_model(name)
    except EsblendError as error:
        return Check("model", "failure", error.reason, "put the folder there, or set ESBLEND_MODEL")
    if digest is not None and folder.digest() != digest:
        advice = "install the files that it was attached with, or attach it again"
        return Check(
            "model", "failure", f"{name} on this machine is not the model that the index was attached with", advice
        )
    return Check("model", "ok", f"{name} is on this machine")
