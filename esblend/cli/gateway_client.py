"""The command line's client for the gateway: the configured gateway, or the gateway of the stack on this machine."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from esblend.cli.console import err, print_json
from esblend.errors import EsblendError, LocalStackError, UnusableFile

if TYPE_CHECKING:
    from elasticsearch import ApiError, Elasticsearch

    from esblend.settings import Settings

FAILED, USAGE, UNREACHABLE, INCOMPLETE, INTERRUPTED = 1, 2, 3, 4, 130
"""Exit codes: rejected or failed; wrong usage; no answer; answered, but incomplete; Ctrl-C."""
_CREDENTIALS = "Pass --username or --api-key before the command, or set ESBLEND_ES_API_KEY."


def whole_path(model: str | None) -> str | None:
    """The absolute path of a model folder: the processes that load it have other working directories."""
    if model is None or not Path(model).expanduser().is_dir():
        return model
    return str(Path(model).expanduser().resolve())


DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="The data folder of a stack on this machine.", envvar="ESBLEND_DATA_DIR"),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document for scripts.")]


def connect_gateway(data_dir: Path | None) -> "Elasticsearch":
    """A client for the gateway: `ESBLEND_GATEWAY_URL`, else the stack of the data dir, else the default address.

    Raises LocalStackError when `data_dir` is given and has no stack.
    """
    from esblend.elasticsearch_connection import connect
    from esblend.settings import Settings

    settings = Settings()
    state = _state(settings, data_dir)
    if settings.gateway_url:
        return connect(settings.model_copy(update={"es_url": settings.gateway_url}))
    if state is not None:
        return connect(state.settings(settings).model_copy(update={"es_url": state.gateway}))
    return connect(settings.model_copy(update={"es_url": f"http://{settings.gateway_host}:{settings.gateway_port}"}))


def process_settings(data_dir: Path | None) -> "Settings":
    """The settings of feed and workers: from the stack of the data dir, else from the environment.

    Raises LocalStackError when `data_dir` is given and has no stack.
    """
    from esblend.settings import Settings

    settings = Settings()
    state = _state(settings, data_dir)
    return settings if state is None else state.settings(settings)


def _state(settings: "Settings", data_dir: Path | None) -> Any:
    from esblend.local.paths import default_data_dir
    from esblend.local.stack import load_state

    if settings.gateway_url:
        return None
    state = load_state((data_dir or default_data_dir()).expanduser())
    if state is None and data_dir is not None:  # another gateway would be another cluster
        raise LocalStackError(f"no stack in {data_dir}; start one with: esblend up --data-dir {data_dir}")
    return state


@contextmanager
def gateway(data_dir: Path | None) -> Iterator["Elasticsearch"]:
    """The client. Failures become a message and an exit code."""
    with stating_errors(), connect_gateway(data_dir) as es:
        yield es


@contextmanager
def stating_errors() -> Iterator[None]:
    """Turn expected errors into one message on stderr, with --json also one document on stdout, and an exit code."""
    try:
        yield
    except EsblendError as error:
        exit_code = USAGE if isinstance(error, UnusableFile) else FAILED
        _end(error.command_line or error.reason, exit_code, error.body())
    except Exception as error:
        _state_server_error(error)
        raise


def _state_server_error(error: Exception) -> None:
    """End with a message if a server failed. Imports the client, which takes longer than `--help` may, only now."""
    from elastic_transport import ConnectionError as TransportConnectionError
    from elastic_transport import ConnectionTimeout
    from elasticsearch import ApiError

    from esblend.elasticsearch_connection import error_body

    if isinstance(error, ApiError):
        advice = f" {_CREDENTIALS}" if error.meta.status == 401 else ""
        _end(reason_of(error) + advice, FAILED, error_body(error))
    if isinstance(error, TransportConnectionError | ConnectionTimeout):
        message = f"No answer from the gateway ({type(error).__name__}). Start a stack with `esblend up`"
        _end(f"{message}, or name a gateway with --gateway or ESBLEND_GATEWAY_URL.", UNREACHABLE)


def _end(message: str, exit_code: int, body: dict[str, Any] | None = None) -> NoReturn:
    if "--json" in sys.argv[1:]:  # the error may come before or after the option is parsed
        cause = {"type": "connection_exception", "reason": message}
        print_json(body or {"error": {"root_cause": [cause], **cause}, "status": 503})
    err.print(message, style="red", markup=False, soft_wrap=True)
    raise typer.Exit(exit_code) from None


def reason_of(error: "ApiError") -> str:
    """The cause of a failed request rather than Elasticsearch's summary "all shards failed"."""
    body: Any = error.body
    detail = body.get("error") if isinstance(body, dict) else None
    if not isinstance(detail, dict):
        return f"{error.meta.status}: {detail or error.message}"
    causes = [*detail.get("failed_shards", []), *detail.get("root_cause", [])]
    reasons = [cause.get("reason") for cause in causes]
    first = next((reason.get("reason") if isinstance(reason, dict) else reason for reason in reasons if reason), None)
    summary = detail.get("command_line") or detail.get("reason")
    return str(first if summary in (None, "all shards failed") and first else summary or error)


def call(
    es: "Elasticsearch", method: str, path: str, body: Any = None, params: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Call one of esblend's endpoints."""
    headers = {"accept": "application/json"} | ({"content-type": "application/json"} if body is not None else {})
    answer = es.perform_request(method, path, params=params, headers=headers, body=body)
    return dict(answer.body)
