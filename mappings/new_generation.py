"""Makes a generation from an attach request: checks that models, dimensions, passages and vector options fit each other."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from esblend.encoder.encoder import Encoder
from esblend.encoder.model import Form
from esblend.errors import InvalidRequest
from esblend.plugins import PASSAGES, find
from mappings.attachment import Generation, ModelIdentity, PassageSettings, VectorOptions
from mappings.requests import AttachRequest

_BBQ_MIN_DIMS = 64
"""Elasticsearch's own limit."""


@dataclass(frozen=True)
class Models:
    """The loaded models of a request. `queries` None: the documents' model embeds queries too."""

    documents: Encoder
    queries: Encoder | None = None


def make_generation(request: AttachRequest, models: Models, adopted: Mapping[str, Any] | None = None) -> Generation:
    """`adopted`: the mapping of the `dense_vector` to adopt. Raises InvalidRequest when settings do not fit each other."""
    encoder = models.documents
    vector = _vector(request.vector, encoder) if adopted is None else _adopted_vector(adopted, encoder)
    dims = vector.dims or encoder.dims
    if models.queries is not None and dims not in (models.queries.dims, *models.queries.model.shorter_dims):
        raise InvalidRequest(
            f"[query_model] [{models.queries.name}] gives vectors of {models.queries.dims} dimensions, "
            f"but the documents' vectors have {dims}"
        )
    find(PASSAGES, request.passages.splitter)
    if request.passages.fields == "apart" and vector.layout == "flat":
        raise InvalidRequest(
            "[passages.fields: apart] needs [vector.layout: passages]: a flat vector covers all fields"
        )
    max_tokens = encoder.max_tokens(Form(document_prompt=request.prompts.document))
    return Generation(
        model=_identity(encoder, dims),
        query_model=None if models.queries is None else _identity(models.queries, dims),
        prompts=request.prompts,
        passages=_fit_passages(request.passages, encoder.name, max_tokens),
        vector=vector.model_copy(update={"dims": None}),
        adopted=request.adopt,
    )


def _identity(encoder: Encoder, dims: int) -> ModelIdentity:
    return ModelIdentity(name=encoder.name, digest=encoder.digest, dims=dims, probe=encoder.probe)


def _vector(requested: VectorOptions, encoder: Encoder) -> VectorOptions:
    dims = requested.dims or encoder.dims
    if dims != encoder.dims and dims not in encoder.model.shorter_dims:
        shorter = ", ".join(map(str, encoder.model.shorter_dims))
        allowed = f", which can be shortened to {shorter}" if shorter else " and was not trained to have them shortened"
        raise InvalidRequest(
            f"[vector.dims] is {dims}, but model [{encoder.name}] gives vectors of {encoder.dims} dimensions{allowed}"
        )
    if requested.type.startswith("bbq") and dims < _BBQ_MIN_DIMS:
        raise InvalidRequest(
            f"[vector.type] {requested.type} needs {_BBQ_MIN_DIMS} dimensions or more; there are {dims}"
        )
    if requested.type.startswith("int4") and dims % 2:
        raise InvalidRequest(f"[vector.type] {requested.type} needs an even number of dimensions; there are {dims}")
    if requested.oversample is not None and requested.type in ("hnsw", "flat"):
        raise InvalidRequest(f"[vector.oversample] is for quantised vectors; type [{requested.type}] is not quantised")
    if "similarity" in requested.model_fields_set:
        return requested
    return requested.model_copy(update={"similarity": encoder.model.similarity})


def _adopted_vector(mapping: Mapping[str, Any], encoder: Encoder) -> VectorOptions:
    """The options of the `dense_vector` to adopt."""
    dims = int(mapping.get("dims", encoder.dims))
    if dims not in (encoder.dims, *encoder.model.shorter_dims):
        raise InvalidRequest(
            f"[adopt.field] holds vectors of {dims} dimensions, but model [{encoder.name}] gives vectors of {encoder.dims}"
        )
    options = mapping.get("index_options") or {}
    return VectorOptions(
        type=options.get("type", "hnsw"),
        dims=dims,
        similarity=mapping.get("similarity", "cosine"),
        element_type=mapping.get("element_type", "float"),
        layout="flat",
    )


def _fit_passages(requested: PassageSettings, model: str, max_tokens: int) -> PassageSettings:
    if requested.max_tokens <= max_tokens:
        return requested
    if "max_tokens" in requested.model_fields_set:
        raise InvalidRequest(
            f"[passages.max_tokens] is {requested.max_tokens}, but model [{model}] reads at most {max_tokens} word pieces"
        )
    fitted = {"max_tokens": max_tokens, "overlap_tokens": min(requested.overlap_tokens, max_tokens // 2)}
    return requested.model_copy(update=fitted)
