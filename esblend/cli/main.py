"""The `esblend` command: joins the commands of all packages."""

import os
import sys
import warnings
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from esblend.cli.console import err, out
from esblend.cli.gateway_client import INTERRUPTED, USAGE, print_json_error
from esblend.cli.help_texts import simplify
from esblend.errors import InvalidRequest

_PANELS: dict[str, dict[str, tuple[str, ...]]] = {
    "A stack on this machine": {
        "esblend.local.commands": ("up", "down", "ps", "logs"),
        "esblend.demo.commands": ("demo",),
        "esblend.demo.sample_command": ("sample",),
    },
    "Indices": {
        "mappings.attach_command": ("attach", "detach"),
        "indexer.index_command": ("index",),
        "indexer.commands": ("status", "backfill"),
        "query.cli.search_command": ("search",),
    },
    "Models and vectors": {
        "query.cli.migrate_command": ("migrate",),
        "mappings.advise_command": ("advise",),
    },
    "Relevance": {
        "query.lab.commands": ("eval", "tune"),
        "query.lab.train_command": ("train",),
    },
    "Maintenance": {
        "indexer.care.verify_command": ("verify",),
        "indexer.care.doctor_command": ("doctor",),
        "indexer.care.credentials_command": ("setup-credentials",),
        "indexer.care.dead_letter_commands": ("dead-letters",),
        "esblend.cli.config_command": ("config",),
    },
    "Single processes, for production": {
        "query.gateway.command": ("gateway",),
        "workers.commands": ("worker",),
        "indexer.commands": ("feed",),
    },
}
"""Panel of `--help` -> module -> its commands. A module is imported when one of its commands is used."""
_PLACES = {command: module for modules in _PANELS.values() for module, names in modules.items() for command in names}


class _Commands(TyperGroup):
    """The commands of all packages."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_PLACES)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The commands by panel, each with its first sentence."""
        width = max(map(len, _PLACES))
        for panel, modules in _PANELS.items():
            names = [name for names in modules.values() for name in names]
            rows = [(f"{name:<{width}}", self.get_command(ctx, name).get_short_help_str(200)) for name in names]
            with formatter.section(panel):
                formatter.write_dl(rows)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in _PLACES and cmd_name not in self.commands:
            self.commands[cmd_name] = _load(cmd_name)
        return self.commands.get(cmd_name)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # Typer would print "Aborted." and exit with 1
            err.print("Interrupted.", style="yellow")
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            if hasattr(error, "format_message"):  # wrong usage; Typer prints the text
                print_json_error(InvalidRequest(error.format_message()).body())
            raise

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        for name in _PLACES if args and args[0] not in _PLACES else ():  # so that a mistyped name gets a suggestion
            self.get_command(ctx, name)
        return super().resolve_command(ctx, args)


def _load(name: str) -> Any:
    imported = import_module(_PLACES[name])
    application = imported.gateway_command(_find_routes) if name == "gateway" else imported.app
    group: Any = get_group(application)
    command = group if application.info.name == name else group.commands[name]
    for subcommand in (command, *getattr(command, "commands", {}).values()):
        subcommand.rich_markup_mode = None  # plain help: the import of Rich takes longer than everything else
        simplify(subcommand)
    return command


def _find_routes() -> Any:
    from indexer.care.endpoints import make_routes

    return make_routes


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Hybrid search for the Elasticsearch you already run.

Try it:   esblend demo

Your own: esblend up, then esblend attach INDEX --fields title,body, then esblend search INDEX "a question"

Exit codes: 0 success, 1 rejected or failed, 2 wrong usage or an unusable file, 3 no answer, 4 answered but incomplete,
130 interrupted.""",
)


@app.callback(invoke_without_command=True)
def _before_command(
    gateway: Annotated[
        str | None, typer.Option(metavar="URL", help="The gateway's address (or ESBLEND_GATEWAY_URL).")
    ] = None,
    username: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="User of Elasticsearch. A prompt asks for the password unless ESBLEND_ES_PASSWORD is set.",
        ),
    ] = None,
    api_key: Annotated[str | None, typer.Option(metavar="KEY", help="Encoded API key (or ESBLEND_ES_API_KEY).")] = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from esblend import __version__

        out.print(__version__)
        raise typer.Exit
    overrides = {"GATEWAY_URL": gateway, "ES_USERNAME": username, "ES_API_KEY": api_key}
    if username is not None and "ESBLEND_ES_PASSWORD" not in os.environ:
        overrides["ES_PASSWORD"] = typer.prompt(f"Password of {username}", hide_input=True, err=True)
    # Settings read the environment, so options and variables have the same effect.
    os.environ.update({f"ESBLEND_{name}": value for name, value in overrides.items() if value is not None})


def main() -> None:
    """Entry point."""
    warnings.simplefilter("ignore")  # libraries address developers with them
    try:
        if not {"-h", "--help"} & set(sys.argv):  # help answers at once, without the libraries of logs and settings
            from esblend.logs import configure_quietly

            configure_quietly()
        app()
    except Exception as error:
        from pydantic import ValidationError

        if not isinstance(error, ValidationError):
            raise
        messages = [
            "_".join(["ESBLEND", *map(str, detail["loc"])]).upper() + f": {detail['msg']}" for detail in error.errors()
        ]
        print_json_error(InvalidRequest("; ".join(messages)).body())
        err.print("\n".join(messages), style="red")
        sys.exit(USAGE)


if __name__ == "__main__":
    main()
