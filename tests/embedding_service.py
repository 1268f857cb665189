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

from esblend.local.ports import FreePorts
from tests.packaged_encoder import packaged_encoder
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
    retry_after: str = "0"
    is_another_model: bool = False
    """Whether vectors are those of another model: the same numbers in another order."""
    has_tokenizer: bool = True
    counts_bytes: bool = False
    """Whether `/tokenize` gives positions in bytes."""


@contextmanager
def embedding_service() -> Iterator[EmbeddingService]:
    service = EmbeddingService()
    encoder = packaged_encoder()

    def vectors(request: Request, texts: list[str]) -> Any:
        service.batches.append(len(texts))
        service.authorizations.append(request.headers.get("authorization"))
        if service.nonsense is not None:
            return service.nonsense
        vectors = encoder.encode_documents(texts)
        return (vectors[:, ::-1] if service.is_another_model else vectors).tolist()

    def refused() -> Response:
        status = service.refusals.pop(0)
        return Response(
            status_code=status, headers={"retry-after": service.retry_after} if status in (429, 503) else {}
        )

    async def embeddings(request: Request) -> Response:
        if service.refusals:
            return refused()
        body = await request.json()
        data = [{"index": n, "embedding": vector} for n, vector in enumerate(vectors(request, body["input"]))]
        return JSONResponse({"data": data[::-1], "model": body["model"]})

    async def embed(request: Request) -> Response:
        if service.refusals:
            return refused()
        return JSONResponse(vectors(request, (await request.json())["inputs"]))

    async def info(_: Request) -> Response:
        return JSONResponse({"model_id": "minilm", "model_sha": "abc", "max_input_length": 256})

    async def tokenize(request: Request) -> Response:
        if not service.has_tokenizer:
            return Response(status_code=404)
        body = await request.json()
        return JSONResponse([tokens(text, special=body["add_special_tokens"]) for text in body["inputs"]])

    def tokens(text: str, *, special: bool) -> list[dict[str, Any]]:
        def position(characters: int) -> int:
            return len(text[:characters].encode()) if service.counts_bytes else characters

        pieces = [
            {"id": 1, "text": text[start:end], "special": False, "start": position(start), "stop": position(end)}
            for start, end in encoder.tokenizer.spans(text)
        ]
        mark = {"id": 2, "text": "[CLS]", "special": True, "start": None, "stop": None}
        return [mark, *pieces, mark] if special else pieces

    app = Starlette(
        routes=[
            Route("/v1/embeddings", embeddings, methods=["POST"]), Route("/embed", embed, methods=["POST"]), Route("/info", info),
            Route("/tokenize", tokenize, methods=["POST"]),
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
