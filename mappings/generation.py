"""Makes a generation of what people asked for: models, widths, passages and vectors that fit each other."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from esblend.encoder.encoder import Encoder
from esblend.encoder.model import Form
from esblend.errors import InvalidRequest
from esblend.plugins import PASSAGES, find
from mappings.attachment import AttachRequest, Generation, ModelIdentity, PassageSettings, VectorOptions

_SMALLEST_BBQ = 64
"""Dimensions, as Elasticsearch has it."""


@dataclass(frozen=True)
class Models:
    """The models that a request names, loaded. `queries` None: the documents' own."""

    documents: Encoder
    queries: Encoder | None = None


def make_generation(request: AttachRequest, models: Models, adopted: Mapping[str, Any] | None = None) -> Generation:
    """`adopted`: the mapping of the `dense_vector` to adopt. Raises InvalidRequest when the parts do not fit."""
    encoder = models.documents
    vector = _vector(request.vector, encoder) if adopted is None else _as_it_is(adopted, encoder)
    dims = vector.dims or encoder.dims
    if models.queries is not None and dims not in (models.queries.dims, *models.queries.model.shorter_dims):
        raise InvalidRequest(
            f"[query_model] [{models.queries.name}] gives vectors of {models.queries.dims}, "
            f"but those of the documents have {dims}"
        )
    find(PASSAGES, request.passages.splitter)
    if request.passages.fields == "apart" and vector.layout == "flat":
        raise InvalidRequest(
            "[passages.fields: apart] needs [vector.layout: passages]: one vector cannot be of several fields"
        )
    longest = encoder.max_tokens(Form(document_prompt=request.prompts.document))
    return Generation(
        model=_identity(encoder, dims),
        query_model=None if models.queries is None else _identity(models.queries, dims),
        prompts=request.prompts,
        passages=_fit_passages(request.passages, encoder.name, longest),
        vector=vector.model_copy(update={"dims": None}),
        adopted=request.adopt,
    )


def _identity(encoder: Encoder, dims: int) -> ModelIdentity:
    return ModelIdentity(name=encoder.name, digest=encoder.digest, dims=dims)


def _vector(wanted: VectorOptions, encoder: Encoder) -> VectorOptions:
    dims = wanted.dims or encoder.dims
    if dims != encoder.dims and dims not in encoder.model.shorter_dims:
        shorter = ", ".join(map(str, encoder.model.shorter_dims))
        allowed = f", which may be cut to {shorter}" if shorter else " and was not trained to have them cut"
        raise InvalidRequest(
            f"[vector.dims] is {dims}, but model [{encoder.name}] gives vectors of {encoder.dims}{allowed}"
        )
    if wanted.type.startswith("bbq") and dims < _SMALLEST_BBQ:
        raise InvalidRequest(f"[vector.type] {wanted.type} needs {_SMALLEST_BBQ} dimensions or more; there are {dims}")
    if wanted.type.startswith("int4") and dims % 2:
        raise InvalidRequest(f"[vector.type] {wanted.type} needs an even number of dimensions; there are {dims}")
    if wanted.oversample is not None and wanted.type in ("hnsw", "flat"):
        raise InvalidRequest(f"[vector.oversample] is for quantised vectors; [{wanted.type}] are whole already")
    if "similarity" in wanted.model_fields_set:
        return wanted
    return wanted.model_copy(update={"similarity": encoder.model.similarity})


def _as_it_is(mapping: Mapping[str, Any], encoder: Encoder) -> VectorOptions:
    """The options of a `dense_vector` that somebody else made."""
    dims = int(mapping.get("dims", encoder.dims))
    if dims not in (encoder.dims, *encoder.model.shorter_dims):
        raise InvalidRequest(
            f"[adopt.field] holds vectors of {dims}, but model [{encoder.name}] gives vectors of {encoder.dims}"
        )
    options = mapping.get("index_options") or {}
    return VectorOptions(
        type=options.get("type", "hnsw"),
        dims=dims,
        similarity=mapping.get("similarity", "cosine"),
        element_type=mapping.get("element_type", "float"),
        layout="flat",
    )


def _fit_passages(wanted: PassageSettings, model: str, longest: int) -> PassageSettings:
    if wanted.max_tokens <= longest:
        return wanted
    if "max_tokens" in wanted.model_fields_set:
        raise InvalidRequest(
            f"[passages.max_tokens] is {wanted.max_tokens}, but model [{model}] reads at most {longest} word pieces"
        )
    fitted = {"max_tokens": longest, "overlap_tokens": min(wanted.overlap_tokens, longest // 2)}
    return wanted.model_copy(update=fitted)
