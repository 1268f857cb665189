"""Options that `attach` and `migrate` share: how vectors are kept."""

from typing import Annotated, Any

import typer

from esblend.cli.gateway_client import whole_path

QueryModel = Annotated[str | None, typer.Option(callback=whole_path, help="Another model for the queries.")]
VectorType = Annotated[str | None, typer.Option(help="hnsw, int8_hnsw, int4_hnsw, bbq_hnsw, flat, ... (int8_hnsw)")]
M = Annotated[int | None, typer.Option("--m", help="Neighbours of a node in the graph (16).")]
EfConstruction = Annotated[int | None, typer.Option(help="Candidates looked at for each node of the graph (100).")]
ElementType = Annotated[str | None, typer.Option(help="float, or bfloat16: half the disk.")]
Oversample = Annotated[float | None, typer.Option(help="Candidates scored again by whole vectors, times k.")]
Dims = Annotated[int | None, typer.Option(help="Cut the vectors to so many, where the model allows it.")]
MaxTokens = Annotated[int | None, typer.Option(help="Longest passage in word pieces (250).")]
OverlapTokens = Annotated[int | None, typer.Option(help="Word pieces that passages share, about (30).")]


def given(**options: Any) -> dict[str, Any]:
    """Those that were named."""
    return {name: value for name, value in options.items() if value is not None}
