"""A real HTTP service in front of the packaged model, with the two APIs that esblend supports; it can misbehave on request."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from esblend.encoder.encoder import load_encoder
from esblend.local.ports import FreePorts
from tests.real.faults import wait_for


@dataclass
class EmbeddingService:
    """`refusals`: statuses of the next responses, before normal service resumes."""

    url: str = ""
    refusals: list[int] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    nonsense: Any = None
    """Returned in place of vectors."""


@contextmanager
def embedding_service() -> Iterator[EmbeddingService]:
    service = EmbeddingService()
    encoder = load_encoder("minilm")

    def vectors(request: Request, texts: list[str]) -> Any:
        service.batches.append(len(texts))
        service.authorizations.append(request.headers.get("authorization"))
        return service.nonsense if service.nonsense is not None else encoder.encode_documents(texts).tolist()

    def refused() -> Response:
        status = service.refusals.pop(0)
        return Response(status_code=status, headers={"retry-after": "0"} if status in (429, 503) else {})

    async def embeddings(request: Request) -> Response:
        if service.refusals:
            return refused()
        body = await request.json()
        data = [{"index": n, "embedding": one} for n, one in enumerate(vectors(request, body["input"]))]
        return JSONResponse({"data": data[::-1], "model": body["model"]})

    async def embed(request: Request) -> Response:
        if service.refusals:
            return refused()
        return JSONResponse(vectors(request, (await request.json())["inputs"]))

    async def info(_: Request) -> Response:
        return JSONResponse({"model_id": "minilm", "model_sha": "abc", "max_input_length": 256})

    app = Starlette(
        routes=[
            Route("/v1/embeddings", embeddings, methods=["POST"]), Route("/embed", embed, methods=["POST"]), Route("/info", info)
        ]
    )  # fmt: skip
    with FreePorts() as ports:
        port = ports.choose(0)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for("the embedding service", lambda: server.started, seconds=20)
        service.url = f"http://127.0.0.1:{port}"
        yield service
    finally:
        server.should_exit = True
        thread.join()
