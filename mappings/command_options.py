"""Command-line options that several commands share, each defined once."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from esblend.cli.gateway_client import whole_path

IndexArgument = Annotated[str, typer.Argument(metavar="INDEX", help="An attached index.")]
Template = Annotated[str | None, typer.Option(help="The name belongs to an index template or a component template.")]

_QUERY_MODEL = Annotated[str | None, typer.Option(callback=whole_path, help="Model for queries, if it differs.")]
_PASSAGES: dict[str, Any] = {
    "max_tokens": Annotated[int | None, typer.Option(help="Longest passage in word pieces (250).")],
    "overlap_tokens": Annotated[int | None, typer.Option(help="Word pieces that passages share, approximately (30).")],
}
_VECTOR: dict[str, Any] = {
    "vector_type": Annotated[str | None, typer.Option(help="hnsw, int8_hnsw, int4_hnsw, bbq_hnsw, flat, ... (int8_hnsw)")],
    "m": Annotated[int | None, typer.Option("--m", help="Neighbours of each node in the HNSW graph (16).")],
    "ef_construction": Annotated[int | None, typer.Option(help="Candidates for each new node of the HNSW graph (100).")],
    "element_type": Annotated[str | None, typer.Option(help="float, or bfloat16: half the disk space.")],
    "oversample": Annotated[float | None, typer.Option(help="Score this many times k candidates by full vectors.")],
    "dims": Annotated[int | None, typer.Option(help="Shorten the vectors, if the model supports it.")],
}  # fmt: skip


@dataclass(frozen=True)
class VectorSettings:
    """The values of the shared options, as parts of a request body; options that were not given are missing."""

    query_model: str | None
    passages: dict[str, Any]
    vector: dict[str, Any]


def with_vector_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of passages and vectors to a command, which receives them as one parameter `settings: VectorSettings`."""

    @functools.wraps(command)
    def wrapped(**arguments: Any) -> None:
        vector = set_options({name.removeprefix("vector_"): arguments.pop(name) for name in _VECTOR})
        passages = set_options({name: arguments.pop(name) for name in _PASSAGES})
        settings = VectorSettings(arguments.pop("query_model"), passages, vector)
        command(**arguments, settings=settings)

    options = {"query_model": _QUERY_MODEL, **_PASSAGES, **_VECTOR}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name != "settings":
            parameters.append(parameter)
            continue
        parameters += [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
            for name, annotation in options.items()
        ]
    kind = inspect.Parameter.KEYWORD_ONLY
    signature = inspect.Signature([parameter.replace(kind=kind) for parameter in parameters], return_annotation=None)
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    wrapped.__signature__ = signature  # type: ignore[attr-defined]
    return wrapped


def set_options(options: dict[str, Any]) -> dict[str, Any]:
    """Only the options that have a value."""
    return {name: value for name, value in options.items() if value is not None}
