"""`esblend up`, `down`, `ps`, `logs`."""

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esblend.cli.console import err, out, print_json, table
from esblend.cli.gateway_client import FAILED, DataDir, Json, end, find_stack, stating_errors, whole_command, whole_path
from esblend.errors import ModelError

if TYPE_CHECKING:
    from esblend.settings import Settings

PACKAGED_MODEL = "minilm"
app = typer.Typer()


@app.command()
def up(
    es: Annotated[
        str | None,
        typer.Option(help="A running Elasticsearch (or ESBLEND_ES_URL); ESBLEND_ES_* holds its credentials."),
    ] = None,
    redis: Annotated[str | None, typer.Option(help="A running Redis or Valkey (or ESBLEND_REDIS_URL).")] = None,
    data_dir: DataDir = None,
    model: Annotated[
        str | None, typer.Option(callback=whole_path, help="Model folder or hub name; minilm is the packaged one.")
    ] = None,
    security: Annotated[bool, typer.Option("--security", help="Start Elasticsearch with security on.")] = False,
    nodes: Annotated[int | None, typer.Option(min=1, max=9, help="Elasticsearch nodes.")] = None,
    es_version: Annotated[str | None, typer.Option(help="9.4 (default), 8.16 or 8.14.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Worker processes.")] = None,
    as_json: Json = False,
) -> None:
    """Start Elasticsearch, Valkey, feed, worker and gateway in the background; return when all are ready.

    On a running stack it starts only the processes that have died.
    """
    from rich.text import Text

    from esblend.local.paths import default_data_dir
    from esblend.local.probe import check_elasticsearch
    from esblend.local.processes import leave_in_order
    from esblend.local.stack import StackOptions
    from esblend.local.stack import up as start
    from esblend.settings import Settings, mask_passwords

    leave_in_order()
    settings = Settings()
    data_folder = (data_dir or default_data_dir()).expanduser().resolve()
    warnings: list[str] = []
    with stating_errors(), err.status("Starting") as status:

        def say(line: str) -> None:
            status.update(line)
            if not err.is_terminal:
                err.print(line)

        es_url, redis_url = servers_in_environment(settings)
        options = StackOptions(
            es=es or (None if security else es_url), redis=redis or redis_url, model=model, security=security,
            nodes=nodes, es_version=es_version, workers=workers,
        )  # fmt: skip
        if options.es is not None:
            check_elasticsearch(settings.model_copy(update={"es_url": options.es}))
        state = start(data_folder, options, _with_usable_model(settings, model), say, warnings.append)
    for warning in warnings:
        err.print(warning, style="yellow")
    described = {**state.describe(), "data_dir": str(data_folder)}
    if as_json:
        print_json(described)
        return
    out.print(Text.assemble(("Ready.", "green"), "         Gateway ", (state.gateway, "bold")))
    out.print(f"Playground     {state.gateway}/_esblend/", soft_wrap=True)
    lines = [
        f"Elasticsearch  {state.elasticsearch}",
        f"Redis          {mask_passwords(state.redis)}",
        f"Model          {state.model}",
    ]
    if state.username:
        lines.append(f"Sign in with   {state.username}, password {state.password}")
    lines.append(f"Next:          {whole_command('esblend attach INDEX --fields title,body', data_dir)}")
    lines.append(f"To stop:       {whole_command('esblend down', data_dir)}")
    out.print("\n".join(lines), soft_wrap=True)


def servers_in_environment(settings: "Settings") -> tuple[str | None, str | None]:
    """The servers that ESBLEND_ES_URL and ESBLEND_REDIS_URL name; None: start one."""
    return (
        settings.es_url if "es_url" in settings.model_fields_set else None,
        settings.redis_url if "redis_url" in settings.model_fields_set else None,
    )


def _with_usable_model(settings: "Settings", named_model: str | None) -> "Settings":
    """Settings with a model that can load. If the default one cannot be downloaded, the packaged model replaces it."""
    from esblend.encoder.folder import find_model
    from esblend.plugins import ENCODERS, find, kind_and_name
    from esblend.settings import DEFAULT_MODEL

    if named_model or settings.model != DEFAULT_MODEL:
        kind, name = kind_and_name(named_model or settings.model)
        if kind is None:
            find_model(name)
        else:
            find(ENCODERS, kind)
        return settings
    try:
        find_model(DEFAULT_MODEL)
    except ModelError as error:
        find_model(PACKAGED_MODEL)
        message = f"{error.reason.split('. ')[0]}; this stack uses the packaged model [{PACKAGED_MODEL}]."
        err.print(message, style="yellow")
        return settings.model_copy(update={"model": PACKAGED_MODEL})
    return settings


@app.command()
def down(
    data_dir: DataDir = None,
    delete: Annotated[bool, typer.Option("--delete", help="Also remove its data, settings and logs.")] = False,
) -> None:
    """Stop all processes of the stack. Its data stays unless you add --delete."""
    from esblend.local.paths import default_data_dir
    from esblend.local.stack import down as stop

    with stating_errors():
        find_stack(data_dir)
        ran = stop((data_dir or default_data_dir()).expanduser().resolve(), delete=delete)
    out.print("Stopped." if ran else "Nothing was running.")


@app.command()
def ps(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Show the processes of the stack. Exit code 1 when one of them is missing."""
    from rich.text import Text

    from esblend.local.paths import default_data_dir

    data_folder = (data_dir or default_data_dir()).expanduser().resolve()
    with stating_errors():
        state = find_stack(data_dir)
    if state is None:
        end(f"No stack in {data_folder}; start one with: esblend up", FAILED)
    described = {**state.describe(), "data_dir": str(data_folder)}
    if as_json:
        print_json(described)
    else:
        shown = table("process", "state", "pids", "address")
        addresses = {name: str(described.get(name, "")) for name in ("elasticsearch", "redis", "gateway")}
        for name, pids in described["pids"].items():
            state_now = Text("running", style="green") if pids else Text("dead", style="red")
            shown.add_row(name, state_now, " ".join(map(str, pids)), addresses.get(name, ""))
        out.print(shown)
    if not all(described["pids"].values()):
        raise typer.Exit(FAILED)


@app.command()
def logs(
    name: Annotated[
        str | None, typer.Argument(help="feed, worker, gateway, elasticsearch or redis; default: all.")
    ] = None,
    data_dir: DataDir = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Lines from the end of each log.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing new lines.")] = False,
) -> None:
    """Print the logs of the processes."""
    from esblend.local.paths import default_data_dir, elasticsearch_dir

    with stating_errors():
        find_stack(data_dir)
    data_folder = (data_dir or default_data_dir()).expanduser().resolve()
    files = sorted((data_folder / "logs").glob("*.log"))
    servers = {"redis": data_folder / "valkey/valkey.log"}
    servers |= {
        f"elasticsearch-{f.parent.parent.name}": f
        for f in sorted(elasticsearch_dir(data_folder).glob("*/logs/stdout.log"))
    }
    chosen: list[Path] = [file for file in files if name is None or file.name.startswith(name)]
    chosen += [file for key, file in servers.items() if file.is_file() and (name is None or key.startswith(name))]
    if not chosen:
        end(f"No logs{f' of {name}' if name else ''} in {data_folder}", FAILED)
    command = ["tail", f"--lines={lines}", *(["--follow=name"] if follow else []), *map(str, chosen)]
    raise typer.Exit(subprocess.run(command, check=False).returncode)
