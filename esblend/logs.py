"""Structured logs: one line per event, console or JSON, without document text or credentials."""

import logging
import sys
import traceback
from types import TracebackType

import structlog

from esblend.settings import Settings
from esblend.tracing import add_trace_id

ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None]
_PREVIEW = " Preview of field's value"
_SPEAKS_OF_NO_TEXT = (OSError, ImportError, AttributeError)


def without_preview(reason: str) -> str:
    """Elasticsearch's reason without the fragment of a document at its end."""
    return reason.partition(_PREVIEW)[0]


def _where(exc_info: ExceptionInfo) -> str:
    """The frames and types of an exception and of its causes. Messages that may quote a document or a query are omitted."""
    lines: list[str] = []
    error: BaseException | None = exc_info[1]
    while error is not None:
        lines += [
            f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(error.__traceback__)
        ]
        message = f": {error}" if isinstance(error, _SPEAKS_OF_NO_TEXT) else ""
        lines.append(f"{type(error).__name__}{message}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(lines)


def configure_quietly() -> None:
    """For short-lived commands: warnings only, on stderr; stdout is for results."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def configure_logging(settings: Settings) -> None:
    """Send structlog and the standard library's loggers to stderr in the format of the settings."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        add_trace_id,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.ExceptionRenderer(_where),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    logging.captureWarnings(capture=True)
    # The client logs each request on info, and Celery each task twice; esblend logs the relevant events itself.
    for noisy in (
        "elastic_transport",
        "elasticsearch",
        "httpx",
        "urllib3",
        "huggingface_hub",
        "celery.worker.strategy",
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("celery.pool").setLevel(logging.INFO)  # on debug it prints whole messages
    logging.getLogger("celery.app.trace").setLevel(
        logging.CRITICAL
    )  # it prints exception messages, which may quote text
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.log_level.upper()]),
        cache_logger_on_first_use=False,
    )
