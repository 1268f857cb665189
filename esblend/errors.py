"""The errors that callers can receive, each with its HTTP status and an Elasticsearch-style type."""

import shlex
from pathlib import Path
from typing import Any


class EsblendError(Exception):
    """An error with a message for people. `reason` says what failed, why, and which request helps; `command_line`, where it
    differs, says the same with a command instead of a request."""

    status = 500
    type = "esblend_exception"

    def __init__(self, reason: str, *, command_line: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.command_line = command_line

    def body(self) -> dict[str, Any]:
        """Elasticsearch's error shape: `{"error": {"root_cause": [...], "type", "reason"}, "status"}`."""
        cause = {"type": self.type, "reason": self.reason}
        if self.command_line is not None:
            cause["command_line"] = self.command_line
        return {"error": {"root_cause": [cause], **cause}, "status": self.status}


class InvalidRequest(EsblendError):
    """The request is well-formed but cannot be fulfilled."""

    status = 400
    type = "illegal_argument_exception"


class UnusableFile(InvalidRequest):
    """A file that a command names is missing, cannot be read or written, or has another format. The command line exits with 2, as
    for any wrong usage."""


class MalformedRequest(EsblendError):
    """The request cannot be parsed: an unknown key, a wrong type, broken JSON."""

    status = 400
    type = "parsing_exception"


class FailedValidation(InvalidRequest):
    """The parts of a request contradict each other. Elasticsearch numbers the problems of a request."""

    status = 400
    type = "action_request_validation_exception"

    def __init__(self, problem: str) -> None:
        super().__init__(f"Validation Failed: 1: {problem};")


class UnreadableField(MalformedRequest):
    """A key that a retriever does not have, or a value that it cannot read, with the cause if there is one."""

    status = 400
    type = "x_content_parse_exception"

    def __init__(self, reason: str, cause: EsblendError | None = None) -> None:
        super().__init__(reason if cause is None else f"{reason}: {cause.reason}")
        self._shown, self._cause = reason, cause

    def body(self) -> dict[str, Any]:
        shown = {"type": self.type, "reason": self._shown}
        caused_by = {} if self._cause is None else {"caused_by": self._cause.body()["error"]["root_cause"][0]}
        return {"error": {"root_cause": [shown], **shown, **caused_by}, "status": self.status}


class Forbidden(EsblendError):
    """The caller lacks the privilege."""

    status = 403
    type = "security_exception"


class MediaTypeInvalid(EsblendError):
    """`Accept` and `Content-Type` do not fit each other, or are not media types."""

    status = 400
    type = "media_type_header_exception"


class IndexNotFound(EsblendError):
    """`index`: the missing one, where Elasticsearch named it."""

    status = 404
    type = "index_not_found_exception"

    def __init__(self, reason: str, *, index: str | None = None) -> None:
        super().__init__(reason)
        self._index = index

    def body(self) -> dict[str, Any]:
        if self._index is None:
            return super().body()
        names = {
            "resource.type": "index_or_alias",
            "resource.id": self._index,
            "index_uuid": "_na_",
            "index": self._index,
        }
        cause = {"type": self.type, "reason": self.reason, **names}
        return {"error": {"root_cause": [cause], **cause}, "status": self.status}


class IndexClosed(EsblendError):
    """A request needs an index that is closed."""

    status = 400
    type = "index_closed_exception"


class NotAttached(EsblendError):
    """The index exists but has no attachment."""

    status = 404
    type = "resource_not_found_exception"


class NoIndices(NotAttached):
    """A pattern matches no index."""


class AlreadyAttached(EsblendError):
    """The index is attached with other settings."""

    status = 400
    type = "resource_already_exists_exception"


class ConcurrentChange(EsblendError):
    """Another call changed the attachment at the same time."""

    status = 409
    type = "version_conflict_engine_exception"


class ModelError(EsblendError):
    """A model cannot be loaded, or its output is not a usable vector."""

    status = 400
    type = "illegal_argument_exception"


class EncodingError(EsblendError):
    """The model returned no usable vector for a text (NaN, infinite or zero)."""

    type = "encoding_exception"


class UpstreamUnavailable(EsblendError):
    """Elasticsearch cannot be reached."""

    status = 503
    type = "upstream_unavailable_exception"


class IndexUnavailable(EsblendError):
    """An index rejects reads or writes (closed, blocked, a missing privilege). A retry may succeed."""

    status = 503
    type = "index_unavailable_exception"


class UnknownMessage(EsblendError):
    """A message in the queue is not a task of this version."""

    type = "unknown_message_exception"


class QueueUnsafe(EsblendError):
    """The broker may lose tasks."""

    type = "queue_unsafe_exception"


class TooManyRequests(EsblendError):
    """The gateway is at its limit, as when a queue of Elasticsearch is full."""

    status = 429
    type = "es_rejected_execution_exception"


class CallerTooSlow(EsblendError):
    """The caller stopped sending its request."""

    status = 408
    type = "timeout_exception"


class LegFailed(EsblendError):
    """A leg failed that the caller requires."""

    status = 503
    type = "leg_failure_exception"


class BudgetSpent(EsblendError):
    """A step exceeded its time budget."""

    status = 503
    type = "budget_spent_exception"


class UpstreamError(EsblendError):
    """Elasticsearch rejected a request; the caller receives its response."""

    def __init__(self, status: int, error: dict[str, Any]) -> None:
        super().__init__(
            str(error.get("error", {}).get("reason", error) if isinstance(error.get("error"), dict) else error)
        )
        self.status = status
        self.error = error

    def body(self) -> dict[str, Any]:
        return self.error


class MissingExtra(EsblendError):
    """A command needs a part of esblend that is not installed."""

    type = "missing_extra_exception"


class NoStack(UnusableFile):
    """The data folder that a command names has no stack. The default address could be another cluster."""

    type = "local_stack_exception"

    def __init__(self, data_dir: Path) -> None:
        super().__init__(f"no stack in {data_dir}; start one with: esblend up --data-dir {shlex.quote(str(data_dir))}")


class LocalStackError(EsblendError):
    """The one-machine stack cannot do what the command asks."""

    type = "local_stack_exception"
