"""The Celery application that feed and workers share: queues, serialisation, delivery. JSON only."""

import ssl
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from celery import Celery
from kombu.entity import Exchange, Queue
from pydantic import BaseModel, ConfigDict, Field, model_validator

from esblend.redis_connection import celery_options, celery_tls
from esblend.settings import Settings

FORMAT: Literal[1] = 1
RANGE_FORMAT: Literal[2] = 2
"""The formats of messages: documents by id, and changes by range. A worker fails a message of an unknown format, so the feed sends
its changes again until a worker that knows the format receives them."""
EMBED_TASK = "esblend.embed"
ATTACH_TASK = "esblend.attach"
Lane = Literal["live", "backfill"]
LANES: tuple[Lane, ...] = ("live", "backfill")
Action = Literal["embed", "renew", "drop"]
WORKER_ALIVE_SECONDS = 6
"""A worker renews its sign of life in Redis three times within this period; afterwards it counts as dead."""
VISIBILITY_SECONDS = 3600
"""Redis delivers an unfinished task to another worker after this time, which is longer than any task takes."""


MAX_DOCUMENTS = 1000
"""The highest number of ids in one task."""
MAX_RANGE_DOCUMENTS = 4000
"""The highest number of documents in a task that names a range. Between two tasks a worker computes nothing for a moment."""
MAX_RUNS = 100
"""The highest number of runs of the workers' own writes in one message: each is a clause of the worker's search."""
MAX_SEQ_NO = 2**63 - 1
Name = Annotated[str, Field(min_length=1, max_length=512)]
SeqNo = Annotated[int, Field(ge=0, le=MAX_SEQ_NO)]


class DocumentRef(BaseModel):
    """One change: the document without its text, so that workers always embed the newest text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    seq_no: int
    routing: str | None = None


class EmbedTask(BaseModel):
    """Documents by id: the requests of operators, and the changes that a feed of an earlier version found."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = FORMAT
    index: Name
    uuid: Name
    generation: Name
    documents: list[DocumentRef] = Field(min_length=1, max_length=MAX_DOCUMENTS)
    action: Action = "embed"
    """embed: changed documents only. On an operator's request: renew (a retried dead letter, a repair) also documents that look
    unchanged, or drop: leave the document without vectors until its text changes."""

    @property
    def max_documents(self) -> int:
        return len(self.documents)


class RangeTask(BaseModel):
    """The changes of one shard with sequence numbers in (`after`, `until`]. The worker finds the documents itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[2] = RANGE_FORMAT
    index: Name
    uuid: Name
    generation: Name
    shard: int = Field(ge=0, le=2**31 - 1)
    after: int = Field(ge=-1, le=MAX_SEQ_NO)
    until: SeqNo
    max_documents: int = Field(ge=1, le=MAX_RANGE_DOCUMENTS)
    """The worker stops after this number of documents and reports how far it came: the feed does not know how many there are."""
    without: list[tuple[SeqNo, SeqNo]] = Field(default=[], max_length=MAX_RUNS)
    """Runs of sequence numbers, both ends included, that need no work: the workers' own writes."""

    @model_validator(mode="after")
    def _holds_changes(self) -> Self:
        if self.until <= self.after:
            raise ValueError("[until] must be greater than [after]")
        return self


class AttachTask(BaseModel):
    """Attach an index whose mapping requests it (see `mappings.mapping_requests`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = FORMAT
    index: Name


Count = Annotated[int, Field(ge=0, le=100_000)]
"""Documents. A task has at most MAX_RANGE_DOCUMENTS, and 10,000 more that share one sequence number."""


class EmbedResult(BaseModel):
    """The number of a task's documents by outcome."""

    written: Count = 0
    unchanged: Count = 0
    gone: Count = 0
    conflicts: Count = 0
    dead_letters: Count = 0
    documents: Count = 0
    seconds: Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)] = 0.0
    """From the first read to the last write."""
    until: Annotated[int, Field(ge=-1, le=MAX_SEQ_NO)] | None = None
    """For a range: all of its changes up to this sequence number are done."""

    def plus(self, other: "EmbedResult") -> "EmbedResult":
        return EmbedResult(
            written=self.written + other.written,
            unchanged=self.unchanged + other.unchanged,
            gone=self.gone + other.gone,
            conflicts=self.conflicts + other.conflicts,
            dead_letters=self.dead_letters + other.dead_letters,
            documents=self.documents + other.documents,
            seconds=self.seconds + other.seconds,
        )


MAX_REPORTED_RUNS = 20_000
"""The highest number of runs in one report. A portion has fewer documents."""


class Report(BaseModel):
    """What a worker pushes to the feed that sent a range: its own writes after each portion, and the end of the task.

    When a report is lost, the feed reads the writes once without effect, and finds the end in Celery's result.
    """

    task: Name
    written: list[tuple[SeqNo, SeqNo]] = Field(default=[], max_length=MAX_REPORTED_RUNS)
    """Runs of sequence numbers, both ends included."""
    is_end: bool = False
    result: EmbedResult | None = None
    """At the end: the result, or None when the task failed."""


FEED_HEADER = "feed"
"""The header of a message that names the feed process which waits for reports."""


def queue_name(lane: Lane) -> str:
    return f"esblend-{lane}"


def held_key(task: str) -> str:
    """The Redis key that names the worker process which received a task last."""
    return f"esblend:held:{task}"


def worker_key(worker: str) -> str:
    """The Redis key that exists while a worker process lives: a JSON list of the tasks that it holds.

    A worker that finished a task while Redis was away can report neither the result nor the end; the task is missing here then.
    """
    return f"esblend:worker:{worker}"


WORKERS_KEY = "esblend:workers"
"""The Redis sorted set of worker processes by their last sign of life, in seconds of Redis' clock."""


def reports_key(feed: str) -> str:
    """The Redis list to which workers push the reports for a feed process, and on which it waits."""
    return f"esblend:reports:{feed}"


def _rabbitmq_tls(settings: Settings, url: str) -> dict[str, Any] | None:
    """Options with which the AMQP client checks certificate and host name; without `server_hostname` it ignores the name."""
    if not url.startswith("amqps://"):
        return None
    trusted = {"ca_certs": str(settings.broker_ca_certs)} if settings.broker_ca_certs else {}
    return {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": urlsplit(url).hostname, **trusted}


def make_celery(settings: Settings) -> Celery:
    """A Celery application: the queue in Redis, or in RabbitMQ where `broker_url` names one; results always in Redis.

    Nothing is connected yet.
    """
    broker = settings.broker_url.get_secret_value() if settings.broker_url else settings.redis_url
    app = Celery("esblend", broker=broker, backend=settings.redis_url, set_as_current=False)
    tls = celery_tls(settings)
    app.conf.update(
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        task_queues=[Queue(queue_name(lane), Exchange("esblend"), queue_name(lane)) for lane in LANES],  # type: ignore[no-untyped-call]
        task_default_queue=queue_name("backfill"),
        task_create_missing_queues=False,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_enable_remote_control=False,
        worker_send_task_events=settings.task_events,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        result_expires=VISIBILITY_SECONDS,
        result_backend_transport_options=celery_options(settings),
        redis_backend_use_ssl=tls,
        broker_use_ssl=tls if settings.broker_url is None else _rabbitmq_tls(settings, broker),
        # Live changes overtake a backfill: Redis' queues are read in this order. RabbitMQ alternates between them.
        broker_transport_options={"confirm_publish": True} if settings.broker_url else {
            "visibility_timeout": VISIBILITY_SECONDS, "queue_order_strategy": "priority", "socket_keepalive": True,
            **celery_options(settings),
        },
    )  # fmt: skip
    return app
