"""`esblend config show`."""

from typing import Any

import typer

from esblend.cli.console import out, print_json, table
from esblend.cli.gateway_client import DataDir, Json, process_settings, stating_errors

app = typer.Typer(name="config", help="Show the settings and their sources.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Show the settings and their sources."""


@app.command()
def show(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Show every setting with its value and its source.

    Secrets are masked. If this machine has a stack, the stack's addresses, model and credentials are shown.
    """
    from rich.text import Text

    from esblend.settings import Settings

    with stating_errors():
        settings = process_settings(data_dir)
    base, origins = Settings(), Settings.origins()
    origins |= {name: "stack" for name in Settings.model_fields if getattr(settings, name) != getattr(base, name)}
    rows = [(name, _shown(getattr(settings, name)), origins.get(name, "default")) for name in Settings.model_fields]
    if as_json:
        print_json({name: {"value": value, "source": source} for name, value, source in rows})
        return
    shown = table("setting", "value", "source")
    for name, value, source in rows:
        style = "dim" if source == "default" else "bold"
        shown.add_row(Text(name, style=style), "" if value is None else str(value), source)
    out.print(shown)


def _shown(value: Any) -> Any:
    from pydantic import SecretStr

    from esblend.settings import mask_passwords

    if isinstance(value, SecretStr):
        return "********"
    if isinstance(value, str):
        return mask_passwords(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
