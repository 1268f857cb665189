"""`esblend doctor`."""

from dataclasses import asdict

import typer

from esblend.cli.console import out, print_json, table
from esblend.cli.gateway_client import FAILED, DataDir, Json, process_settings, stating_errors

app = typer.Typer()
_COLOURS = {"ok": "green", "warning": "yellow", "failure": "red"}


@app.command()
def doctor(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Check servers, privileges, limits, mappings and models, with advice for each problem.

    It uses the settings of feed and workers (ESBLEND_*), or of the stack on this machine. Exit code 1 when a check fails, 0 with
    warnings only.
    """
    from rich.text import Text

    from indexer.care.doctor import examine

    with stating_errors():
        checks = list(examine(process_settings(data_dir)))
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        shown = table("outcome", "check", "result", "advice", figures=("outcome",))
        for check in checks:
            shown.add_row(Text(check.outcome, style=_COLOURS[check.outcome]), check.name, check.detail, check.advice)
        out.print(shown)
    if any(check.outcome == "failure" for check in checks):
        raise typer.Exit(FAILED)
