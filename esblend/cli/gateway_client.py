"""The command line's client for the gateway: the configured one, or that of the stack on this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from elastic_transport import ConnectionError as TransportConnectionError
from elastic_transport import ConnectionTimeout
from elasticsearch import ApiError, Elasticsearch

from esblend.cli.console import err
from esblend.elasticsearch_connection import connect
from esblend.errors import EsblendError
from esblend.settings import Settings

FAILED, USAGE, UNREACHABLE, INCOMPLETE = 1, 2, 3, 4
"""Exit codes: rejected or failed; wrong usage; no answer; answered, but incomplete."""


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


def connect_gateway(data_dir: Path | None) -> Elasticsearch:
    """A client for the gateway: `ESBLEND_GATEWAY_URL`, else the running stack of the data dir, else the default address."""
    settings = Settings()
    state = _state(settings, data_dir)
    if settings.gateway_url:
        return connect(settings.model_copy(update={"es_url": settings.gateway_url}))
    if state is not None:
        return connect(state.settings(settings).model_copy(update={"es_url": state.gateway}))
    return connect(settings.model_copy(update={"es_url": f"http://{settings.gateway_host}:{settings.gateway_port}"}))


def process_settings(data_dir: Path | None) -> Settings:
    """The settings of feed and workers: those of the running stack of the data dir, else those of the environment."""
    settings = Settings()
    state = _state(settings, data_dir)
    return settings if state is None else state.settings(settings)


def _state(settings: Settings, data_dir: Path | None) -> Any:
    from esblend.local.paths import default_data_dir
    from esblend.local.stack import load_state

    return None if settings.gateway_url else load_state(data_dir or default_data_dir())


@contextmanager
def gateway(data_dir: Path | None) -> Iterator[Elasticsearch]:
    """The client. Failures become a message and an exit code."""
    with stating_errors(), connect_gateway(data_dir) as es:
        yield es


@contextmanager
def stating_errors() -> Iterator[None]:
    """Turn expected errors into one message on stderr and an exit code."""
    try:
        yield
    except ApiError as error:
        err.print(f"[red]{_reason(error)}[/]", markup=True, highlight=False)
        raise typer.Exit(FAILED) from None
    except (TransportConnectionError, ConnectionTimeout) as error:
        err.print(
            "[red]The gateway cannot be reached.[/] Start a stack with `esblend up`, or name a gateway with ESBLEND_GATEWAY_URL.",
            highlight=False,
        )
        raise typer.Exit(UNREACHABLE) from error
    except EsblendError as error:
        err.print(error.command_line or error.reason, style="red", markup=False, highlight=False)
        raise typer.Exit(FAILED) from None


def _reason(error: ApiError) -> str:
    from rich.markup import escape

    body: Any = error.body
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        return escape(str(body["error"].get("command_line") or body["error"].get("reason", error)))
    return escape(str(error))


def call(
    es: Elasticsearch, method: str, path: str, body: Any = None, params: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Call one of esblend's endpoints."""
    headers = {"accept": "application/json"} | ({"content-type": "application/json"} if body is not None else {})
    answer = es.perform_request(method, path, params=params, headers=headers, body=body)
    return dict(answer.body)
