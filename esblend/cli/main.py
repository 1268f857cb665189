"""The `esblend` command: joins the commands of all packages."""

import os
import sys
import warnings
from typing import Annotated

import typer
from pydantic import ValidationError

import indexer.care.credentials_command
import indexer.care.dead_letter_commands
import indexer.care.doctor_command
import indexer.care.verify_command
import indexer.commands
import mappings.advise_command
import mappings.attach_command
import query.cli.migrate_command
import query.cli.search_command
import query.gateway.command
import query.lab.commands
import query.lab.train_command
import workers.commands
from esblend import __version__
from esblend.cli.config_command import app as config_app
from esblend.cli.console import err, out
from esblend.cli.gateway_client import USAGE
from esblend.demo import commands as demo_commands
from esblend.local import commands as local_commands
from esblend.logs import configure_quietly
from indexer.care.endpoints import make_routes

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Hybrid search for the Elasticsearch you already run.

Try it:   esblend demo

Your own: esblend up, then esblend attach INDEX --fields title,body, then esblend search INDEX "a question"

Exit codes: 0 success, 1 rejected or failed, 2 wrong usage, 3 no answer, 4 answered but incomplete.""",
)

_PANELS: dict[str, list[typer.Typer]] = {
    "A stack on this machine": [local_commands.app, demo_commands.app],
    "Indices": [mappings.attach_command.app, indexer.commands.app, query.cli.search_command.app],
    "Models and vectors": [query.cli.migrate_command.app, mappings.advise_command.app],
    "Relevance": [query.lab.commands.app, query.lab.train_command.app],
    "Care": [indexer.care.verify_command.app, indexer.care.doctor_command.app, indexer.care.credentials_command.app],
    "Processes, each alone, for production": [
        query.gateway.command.gateway_command(make_routes),
        workers.commands.app,
    ],
}
_PROCESSES = {"feed", "worker", "gateway"}


def _join() -> None:
    for panel, parts in _PANELS.items():
        for part in parts:
            for command in part.registered_commands:
                name = command.name or getattr(command.callback, "__name__", "")
                command.rich_help_panel = list(_PANELS)[-1] if name in _PROCESSES else panel
                app.registered_commands.append(command)
    app.add_typer(config_app, name="config", rich_help_panel="Care")
    app.add_typer(indexer.care.dead_letter_commands.app, rich_help_panel="Care")


_join()


@app.callback(invoke_without_command=True)
def _before_command(
    gateway: Annotated[str | None, typer.Option(help="The gateway's address (or ESBLEND_GATEWAY_URL).")] = None,
    username: Annotated[
        str | None, typer.Option(help="Asks for the password unless ESBLEND_ES_PASSWORD is set.")
    ] = None,
    api_key: Annotated[str | None, typer.Option(help="Encoded API key (or ESBLEND_ES_API_KEY).")] = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        out.print(__version__, highlight=False)
        raise typer.Exit
    given = {"GATEWAY_URL": gateway, "ES_USERNAME": username, "ES_API_KEY": api_key}
    if username is not None and "ESBLEND_ES_PASSWORD" not in os.environ:
        given["ES_PASSWORD"] = typer.prompt(f"Password of {username}", hide_input=True, err=True)
    # Settings read the environment, so options and variables have the same effect.
    os.environ.update({f"ESBLEND_{name}": value for name, value in given.items() if value is not None})


def main() -> None:
    """Entry point."""
    configure_quietly()
    warnings.simplefilter("ignore")  # libraries address developers with them
    try:
        app()
    except ValidationError as error:
        for detail in error.errors():
            name = "_".join(["ESBLEND", *map(str, detail["loc"])]).upper()
            err.print(f"{name}: {detail['msg']}", style="red", markup=False, highlight=False)
        sys.exit(USAGE)
    except KeyboardInterrupt:
        err.print("Interrupted.", style="yellow")
        sys.exit(130)


if __name__ == "__main__":
    main()
