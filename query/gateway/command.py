"""`esblend gateway`."""

from collections.abc import Callable
from typing import Annotated, Any

import typer


def gateway_command(find_routes: Callable[[], Any]) -> typer.Typer:
    """`esblend gateway`. `find_routes` imports what makes further endpoints (see `query.gateway.application.MakeRoutes`)."""
    made = typer.Typer()

    @made.command(name="gateway")
    def serve(
        host: Annotated[str | None, typer.Option(help="Address to listen on (127.0.0.1).")] = None,
        port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port (9280).")] = None,
    ) -> None:
        """Run the gateway: Elasticsearch's API with hybrid search."""
        from esblend.settings import Settings
        from query.gateway.server import run_gateway  # imports uvicorn and the encoder: not for every command

        given = {"gateway_host": host, "gateway_port": port}
        settings = Settings().model_copy(update={key: value for key, value in given.items() if value is not None})
        run_gateway(settings, find_routes())

    return made
