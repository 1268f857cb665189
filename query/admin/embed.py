"""`POST /_esblend/embed`: vectors of query texts, for clients that build their own kNN."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from esblend.disconnect import unless_caller_leaves
from esblend.endpoint_http import endpoint_response, read_json
from esblend.errors import InvalidRequest, MalformedRequest
from query.language.checks import refuse_unknown
from query.run.query_encoder import MAX_CHARACTERS, QueryEmbedder
from query.run.together import together
from query.targets.metadata import Metadata, Requester

MAX_TEXTS = 100


async def embed(
    request: Request, make_requester: Callable[[Request], Requester], metadata: Metadata, embedder: QueryEmbedder
) -> Response:
    """`{"index", "texts", "generation"?}` -> the vectors of the texts, and the field to search with them.

    The caller must be allowed to search the index. Raises EsblendError, or CallerLeft.
    """
    body = await read_json(request)
    index, texts = _parse(body)
    target = await metadata.target(make_requester(request), index)
    if body.get("generation") is not None:
        target = target.using(str(body["generation"]))
    attachment = target.attachment
    embedding = together(*(embedder.embed(text, attachment.generation) for text in texts))
    vectors = await unless_caller_leaves(request.receive, embedding)
    return endpoint_response(
        {
            "field": attachment.vector_field,
            "path": attachment.passages_path if attachment.is_nested else None,
            "model": attachment.generation.searched_by.name,
            "dims": attachment.generation.model.dims,
            "similarity": attachment.generation.vector.similarity,
            "vectors": [vector.tolist() for vector in vectors],
        }
    )


def _parse(body: Any) -> tuple[str, list[str]]:
    if not isinstance(body, dict):
        raise MalformedRequest('the body must be an object: {"index": ..., "texts": [...]}')
    refuse_unknown(body, {"index", "texts", "generation"}, "embed")
    index, texts = body.get("index"), body.get("texts")
    if not isinstance(index, str) or not index:
        raise InvalidRequest("[embed.index] must name an attached index")
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise InvalidRequest("[embed.texts] must be a list of texts")
    if len(texts) > MAX_TEXTS:
        raise InvalidRequest(f"[embed.texts] has {len(texts)} texts; at most {MAX_TEXTS} are allowed")
    longest = max(map(len, texts))
    if longest > MAX_CHARACTERS:
        raise InvalidRequest(f"[embed.texts] has a text of {longest} characters; at most {MAX_CHARACTERS} are allowed")
    return index, texts
