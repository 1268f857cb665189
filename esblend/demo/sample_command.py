"""`esblend sample`: the data of the tutorial."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from esblend.cli.console import out
from esblend.cli.gateway_client import FAILED, end

app = typer.Typer()


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(help="Where to write the files; created if it is missing.")] = Path(
        "sample"
    ),
) -> None:
    """Write the tutorial's data: articles of a help centre, questions, and judgements of the answers."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for source in files("esblend.demo").joinpath("sample").iterdir():
            (folder / source.name).write_bytes(source.read_bytes())
            out.print(f"{folder / source.name}", soft_wrap=True)
    except OSError as error:
        end(f"{folder} cannot be written: {error.strerror}", FAILED)
