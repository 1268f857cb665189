"""`esblend config show`."""

from typing import Any

import typer

from esblend.cli.console import out, print_json
from esblend.cli.gateway_client import Json

app = typer.Typer(name="config", help="Settings and their sources.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Settings and their sources."""


@app.command()
def show(as_json: Json = False) -> None:
    """Show every setting with its value and its source; secrets are masked."""
    from rich.table import Column, Table

    from esblend.settings import Settings

    settings, origins = Settings(), Settings.origins()
    rows = [(name, _shown(getattr(settings, name)), origins.get(name, "default")) for name in Settings.model_fields]
    if as_json:
        print_json({name: {"value": value, "source": source} for name, value, source in rows})
        return
    table = Table("setting", Column("value", overflow="fold"), "source")
    for name, value, source in rows:
        colour = "dim" if source == "default" else "bold"
        table.add_row(f"[{colour}]{name}[/]", "" if value is None else str(value), source)
    out.print(table)


def _shown(value: Any) -> Any:
    from pydantic import SecretStr

    from esblend.settings import mask_passwords

    if isinstance(value, SecretStr):
        return "********"
    if isinstance(value, str):
        return mask_passwords(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
