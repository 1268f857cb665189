"""The command line's client for the gateway: the configured gateway, or the gateway of the stack on this machine."""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from esblend.cli.console import err, print_json
from esblend.errors import EsblendError, NoStack, UnusableFile

if TYPE_CHECKING:
    from elasticsearch import ApiError, Elasticsearch

    from esblend.local.stack import StackState
    from esblend.settings import Settings

FAILED, USAGE, UNREACHABLE, INCOMPLETE, INTERRUPTED = 1, 2, 3, 4, 130
"""Exit codes: rejected or failed; wrong usage; no answer; answered, but incomplete; Ctrl-C."""
_CREDENTIALS = "Pass --username or --api-key before the command, or set ESBLEND_ES_API_KEY."


def whole_path(model: str | None) -> str | None:
    """The absolute path of a model folder: the processes that load it have other working directories."""
    if model is None or not Path(model).expanduser().is_dir():
        return model
    return str(Path(model).expanduser().resolve())


def _only_one(context: typer.Context, data_dir: Path | None) -> Path | None:
    """--gateway wins over ESBLEND_DATA_DIR; both options together contradict each other."""
    source = context.get_parameter_source("data_dir")
    if data_dir is None or context.find_root().params.get("gateway") is None:
        return data_dir
    if source is not None and source.name == "COMMANDLINE":
        raise typer.BadParameter("--gateway names a gateway as well; use one of the two options.")
    return None


DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="The data folder of a stack on this machine.",
        envvar="ESBLEND_DATA_DIR",
        callback=_only_one,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document for scripts.")]


def connect_gateway(data_dir: Path | None) -> "Elasticsearch":
    """A client for the gateway of `data_dir`, else at `ESBLEND_GATEWAY_URL`, else of the default stack or at the default address.

    Raises NoStack when `data_dir` is given and has none.
    """
    from esblend.elasticsearch_connection import connect
    from esblend.settings import Settings

    settings = Settings()
    state = _state(settings, data_dir)
    if state is not None:
        return connect(state.settings(settings).model_copy(update={"es_url": state.gateway}))
    if settings.gateway_url:
        return connect(settings.model_copy(update={"es_url": settings.gateway_url}))
    return connect(settings.model_copy(update={"es_url": f"http://{settings.gateway_host}:{settings.gateway_port}"}))


def process_settings(data_dir: Path | None) -> "Settings":
    """The settings of feed and workers: from the stack of the data dir, else from the environment.

    Raises NoStack when `data_dir` is given and has none.
    """
    from esblend.settings import Settings

    settings = Settings()
    state = _state(settings, data_dir)
    return settings if state is None else state.settings(settings)


def _state(settings: "Settings", data_dir: Path | None) -> "StackState | None":
    return None if settings.gateway_url and data_dir is None else find_stack(data_dir)


def find_stack(data_dir: Path | None) -> "StackState | None":
    """The stack of `data_dir`, running or not. Without `data_dir`: the stack of the default folder, or None.

    Raises NoStack when `data_dir` is given and has none: another gateway would be another cluster.
    """
    from esblend.local.paths import default_data_dir
    from esblend.local.stack import load_state

    state = load_state((data_dir or default_data_dir()).expanduser())
    if state is None and data_dir is not None:
        raise NoStack(data_dir)
    return state


def whole_command(command: str, data_dir: Path | None) -> str:
    """The command for the user to paste, with --data-dir if this call had it."""
    if data_dir is None or os.environ.get("ESBLEND_DATA_DIR") == str(data_dir):
        return command
    return f"{command} --data-dir {shlex.quote(str(data_dir))}"


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
        end(error.command_line or error.reason, exit_code, error.body())
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
        end(reason_of(error) + advice, FAILED, error_body(error))
    if isinstance(error, TransportConnectionError | ConnectionTimeout):
        message = f"No answer from the gateway ({type(error).__name__}). Start a stack with `esblend up`"
        message += ", or name a gateway with --gateway or ESBLEND_GATEWAY_URL."
        end(message, UNREACHABLE, _body("connection_exception", message, 503))


def end(message: str, exit_code: int = USAGE, body: dict[str, Any] | None = None) -> NoReturn:
    """End the command with a message on stderr and, with --json, an error like Elasticsearch's on stdout."""
    print_json_error(body or _body("illegal_argument_exception", message, 400))
    err.print(message, style="red", soft_wrap=True)
    raise typer.Exit(exit_code) from None


def print_json_error(body: dict[str, Any]) -> None:
    """Print it if the command line asks for JSON. The error may come before the option is parsed."""
    if "--json" in sys.argv[1:]:
        print_json(body)


def _body(type_: str, reason: str, status: int) -> dict[str, Any]:
    cause = {"type": type_, "reason": reason}
    return {"error": {"root_cause": [cause], **cause}, "status": status}


def reason_of(error: "ApiError") -> str:
    """The cause of a failed request rather than a summary such as "all shards failed" or "[1:4880] failed to parse field"."""
    body: Any = error.body
    detail = body.get("error") if isinstance(body, dict) else None
    if not isinstance(detail, dict):
        return f"{error.meta.status}: {detail or error.message}"
    causes = [*detail.get("failed_shards", []), *detail.get("root_cause", [])]
    reasons = [cause.get("reason") for cause in causes]
    first = next((reason.get("reason") if isinstance(reason, dict) else reason for reason in reasons if reason), None)
    return str(detail.get("command_line") or first or detail.get("reason") or error)


def call(
    es: "Elasticsearch", method: str, path: str, body: Any = None, params: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Call one of esblend's endpoints."""
    headers = {"accept": "application/json"} | ({"content-type": "application/json"} if body is not None else {})
    response = es.perform_request(method, path, params=params, headers=headers, body=body)
    return dict(response.body)
