"""`esblend dead-letters list | show | retry | drop`."""

from typing import Annotated, Any

import typer

from esblend.cli.console import counted, out, print_json
from esblend.cli.gateway_client import FAILED, DataDir, Json, call, end, gateway

app = typer.Typer(name="dead-letters", help="List, retry or drop documents that cannot be embedded.")
Index = Annotated[str | None, typer.Argument(metavar="INDEX", help="All indices when left out.")]
Id = Annotated[str | None, typer.Option("--id", help="One document only.")]
All = Annotated[bool, typer.Option("--all", help="The dead letters of all indices.")]


@app.command(name="list")
def list_(
    index: Index = None,
    size: Annotated[int, typer.Option("--size", "-n", min=1, max=1000, help="Dead letters to show.")] = 100,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List dead letters, the newest first."""
    from rich.padding import Padding
    from rich.text import Text

    letters = _find(index, None, size, data_dir)
    if as_json:
        print_json(letters)
        return
    if not letters["total"]:
        out.print("No dead letters.")
        return
    for letter in letters["dead_letters"]:
        attempts = f"  {counted(letter['attempts'], 'attempt')}, {_time(letter)}"
        out.print(Text.assemble((letter["id"], "bold"), f"  {letter['index']}", (attempts, "dim"), overflow="fold"))
        out.print(Padding(Text(letter["error"], style="red", overflow="fold"), (0, 0, 0, 4), expand=False))
    if letters["total"] > len(letters["dead_letters"]):
        out.print(f"{letters['total']} in all; --size shows more.")


@app.command()
def show(
    index: Annotated[str, typer.Argument(help="The index of the document.")],
    id_: Annotated[str, typer.Argument(metavar="ID", help="The document.")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show one dead letter."""
    letters = _find(index, id_, 10, data_dir)["dead_letters"]
    if not letters:
        end(f"Document {id_} of {index} is not a dead letter.", FAILED)
    if as_json:
        print_json(letters[0])
        return
    for key, value in letters[0].items():
        out.print(f"{key:<12}{_time(letters[0]) if key == 'time' else value}")


@app.command()
def retry(
    index: Index = None, id_: Id = None, everywhere: All = False, data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Embed the documents again, once the cause is fixed. Documents that fail again remain dead letters."""
    _ask("_retry", "will be retried", index, id_, everywhere, data_dir, as_json)


@app.command()
def drop(
    index: Index = None, id_: Id = None, everywhere: All = False, data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Drop dead letters. The documents remain searchable by BM25, and are embedded once their text changes."""
    _ask("_drop", "will be dropped", index, id_, everywhere, data_dir, as_json)


def _find(index: str | None, id_: str | None, size: int, data_dir: Any) -> dict[str, Any]:
    params = {"index": index, "id": id_, "size": size}
    with gateway(data_dir) as es:
        return call(
            es,
            "GET",
            "/_esblend/dead-letters",
            params={key: value for key, value in params.items() if value is not None},
        )


def _ask(
    action: str, future: str, index: str | None, id_: str | None, everywhere: bool, data_dir: Any, as_json: bool
) -> None:
    if (index is None) != everywhere:
        end("Name an index, or use --all.")
    params = {"all": "true"} if index is None else {"index": index}
    if id_ is not None:
        params["id"] = id_
    with gateway(data_dir) as es:
        response = call(es, "POST", f"/_esblend/dead-letters/{action}", params=params)
    if as_json:
        print_json(response)
    else:
        out.print(f"{counted(response['dead_letters'], 'dead letter')} {future} within seconds.")


def _time(letter: dict[str, Any]) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(letter["time"] / 1000, UTC).isoformat(timespec="seconds")
