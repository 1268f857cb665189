"""The attachment: how an index is embedded and searched. It lives in the index's own mapping, in `_meta.esblend`."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from esblend.blend_vocabulary import Normalizer
from esblend.encoder.model import Form
from esblend.errors import InvalidRequest, MalformedRequest

FORMAT: Literal[1] = 1
META_KEY = "esblend"
EMBEDDED, NO_TEXT, DEAD_LETTER, DROPPED = "embedded", "no_text", "dead_letter", "dropped"
"""A document's `state`, for each generation. Dropped: a dead letter that a person gave up, until its text changes."""
FieldName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=512)]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PassageSettings(_Frozen):
    """How long texts are split. 250 word pieces is what the default model was trained on."""

    max_tokens: int = Field(default=250, ge=16, le=8192, description="Word pieces in one passage, all included.")
    overlap_tokens: int = Field(
        default=30, ge=0, description="Word pieces that a passage shares with the one before, about."
    )

    fields: Literal["joined", "apart"] = Field(
        default="joined",
        description="apart: no passage holds two source fields, and each field can be weighed by itself.",
    )
    splitter: str = Field(default="sentences", description="An entry point of `esblend.passages`.")

    @field_validator("overlap_tokens")
    @classmethod
    def _half_at_most(cls, value: int, info: Any) -> int:
        if "max_tokens" in info.data and value > info.data["max_tokens"] // 2:
            raise ValueError("must be at most half of max_tokens")
        return value


Similarity = Literal["dot_product", "cosine", "max_inner_product", "l2_norm"]


class VectorOptions(_Frozen):
    """What the vectors are, and how Elasticsearch keeps them: the `dense_vector` field."""

    type: Literal["hnsw", "int8_hnsw", "int4_hnsw", "bbq_hnsw", "flat", "int8_flat", "int4_flat", "bbq_flat"] = (
        "int8_hnsw"
    )
    m: int | None = Field(default=None, ge=2, le=512)
    ef_construction: int | None = Field(default=None, ge=2, le=3200)
    dims: int | None = Field(
        default=None, ge=1, le=4096, description="The model's width, or where it allows that, less."
    )
    element_type: Literal["float", "bfloat16"] = Field(default="float", description="bfloat16: half the disk.")
    similarity: Similarity = Field(
        default="dot_product",
        description="dot_product and cosine: of unit vectors; max_inner_product and l2_norm: as they come from the model. "
        "By default what the model was trained for.",
    )
    layout: Literal["passages", "flat"] = Field(
        default="passages", description="flat: one vector a document, for texts that one passage holds."
    )
    oversample: float | None = Field(
        default=None, ge=1, le=10, description="So many times the candidates are scored again by their whole vectors."
    )


class ModelIdentity(_Frozen):
    """A model by its name and by the digest of its files: two files under one name are two models."""

    name: str
    digest: str
    dims: int


class Prompts(_Frozen):
    """Put before texts, as in `query: `; None: what the model's own config says."""

    query: str | None = Field(default=None, max_length=1000)
    document: str | None = Field(default=None, max_length=1000)


class Adopted(_Frozen):
    """Vectors that were in the index before: a `dense_vector` field of somebody else's."""

    field: FieldName
    keep_current: bool = Field(default=False, description="Embed new and changed documents into it too.")


class QueryDefaults(_Frozen):
    """What a `hybrid` query takes when it says nothing; None leaves esblend's own default."""

    fields: list[str] | None = Field(default=None, min_length=1)
    alpha: float | None = Field(default=None, ge=0, le=1)
    fusion: str | None = Field(default=None, description="linear, rrf, or an entry point of `esblend.fusions`.")
    weights: dict[str, Annotated[float, Field(ge=0)]] | None = Field(
        default=None,
        description="Of the legs, in place of alpha: lexical, semantic, or source fields that are embedded apart.",
    )
    normalizer: Normalizer | None = None
    rank_window_size: int | None = Field(default=None, ge=1, le=10_000)
    rank_constant: int | None = Field(default=None, ge=1, description="Of rrf.")


class Generation(_Frozen):
    """One model with its passage settings. A search never mixes vectors of two."""

    model: ModelIdentity
    passages: PassageSettings
    vector: VectorOptions
    query_model: ModelIdentity | None = None
    """Embeds the queries where that is not the documents' own."""
    prompts: Prompts = Prompts()
    adopted: Adopted | None = None

    @property
    def searched_by(self) -> ModelIdentity:
        return self.query_model or self.model

    @property
    def form(self) -> Form:
        """What is made of the model's vectors."""
        is_unit = self.vector.similarity in ("dot_product", "cosine")
        return Form(self.model.dims, is_unit, self.prompts.document, self.prompts.query)

    @property
    def is_followed(self) -> bool:
        """Whether documents are embedded: not where foreign vectors are only searched."""
        return self.adopted is None or self.adopted.keep_current


class BackfillControl(_Frozen):
    """How the documents of before the attachment are embedded; changed by `esblend backfill` at any time."""

    paused: bool = False
    documents_per_second: float | None = Field(default=None, gt=0, description="At most so many; None: no limit.")


class AttachRequest(_Frozen):
    """The body of `PUT /_esblend/indices/{index}`."""

    source_fields: list[FieldName] = Field(min_length=1, max_length=32)
    model: str | None = None
    query_model: str | None = Field(default=None, description="Embeds queries, where another model does the documents.")
    prompts: Prompts = Prompts()
    passages: PassageSettings = PassageSettings()
    vector: VectorOptions = VectorOptions()
    adopt: Adopted | None = Field(default=None, description="Search vectors that are there already.")
    guard: bool = Field(default=False, description="Drop vectors in the very write that changes the text.")
    versioning: Literal["internal", "external"] = Field(
        default="internal", description="external: writers bring their own version numbers."
    )
    defaults: QueryDefaults = QueryDefaults()

    @model_validator(mode="after")
    def _no_guard_over_foreign_vectors(self) -> "AttachRequest":
        if self.guard and self.adopt is not None:
            raise ValueError("[guard] cannot watch over adopted vectors; leave one of them out")
        return self

    @field_validator("source_fields")
    @classmethod
    def _distinct(cls, value: list[str]) -> list[str]:
        if len(set(value)) != len(value):
            raise ValueError("names a field twice")
        return value


class GenerationRequest(_Frozen):
    """The body of `POST /_esblend/indices/{index}/generations`; what is left out is as in the active generation."""

    model: str | None = None
    query_model: str | None = None
    prompts: Prompts | None = None
    passages: PassageSettings | None = None
    vector: VectorOptions | None = None


class Attachment(_Frozen):
    """What `_meta.esblend` holds. An older esblend leaves a newer `format` alone."""

    format: Literal[1] = FORMAT
    field: str
    """The object field that holds fingerprints and vectors."""
    source_fields: list[str]
    active: str
    """The name of the generation that searches use."""
    generations: dict[str, Generation]
    guard: bool = False
    final_pipeline_before: str | None = None
    """The index's own `final_pipeline`, which the guard runs first and which comes back when it is detached."""
    versioning: Literal["internal", "external"] = "internal"
    backfill: BackfillControl = BackfillControl()
    defaults: QueryDefaults = QueryDefaults()

    @property
    def generation(self) -> Generation:
        return self.generations[self.active]

    def using(self, generation: str) -> "Attachment":
        """The same with another generation in use. Raises InvalidRequest when there is none of that name."""
        if generation not in self.generations:
            known = ", ".join(f"[{name}]" for name in self.generations)
            raise InvalidRequest(f"there is no generation [{generation}]; there are {known}")
        return self if generation == self.active else self.model_copy(update={"active": generation})

    @property
    def root(self) -> str:
        """Dotted path of the active generation's object."""
        return f"{self.field}.{self.active}"

    @property
    def is_nested(self) -> bool:
        """Whether a document may have several vectors, one for each passage."""
        return self.generation.vector.layout == "passages"

    @property
    def has_fields_apart(self) -> bool:
        """Whether each passage is of one source field, and says which."""
        return self.is_nested and self.generation.passages.fields == "apart"

    @property
    def passages_path(self) -> str:
        return f"{self.root}.passages"

    @property
    def vector_field(self) -> str:
        if self.generation.adopted is not None:
            return self.generation.adopted.field
        return f"{self.passages_path if self.is_nested else self.root}.vector"

    @property
    def fingerprint_field(self) -> str:
        return f"{self.root}.fingerprint"

    @property
    def state_field(self) -> str:
        return f"{self.root}.state"

    def to_meta(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_none=True)


R = TypeVar("R", AttachRequest, GenerationRequest, QueryDefaults)


def parse_attach_request(body: Any) -> AttachRequest:
    """Raises MalformedRequest or InvalidRequest naming the key at fault."""
    return _parse(AttachRequest, body, "[source_fields]")


def parse_generation_request(body: Any) -> GenerationRequest:
    """As `parse_attach_request`."""
    return _parse(GenerationRequest, body, "[model]")


def parse_defaults(body: Any) -> QueryDefaults:
    """As `parse_attach_request`."""
    return _parse(QueryDefaults, body, "defaults of a [hybrid] query")


def _parse(kind: type[R], body: Any, key: str) -> R:
    if not isinstance(body, dict):
        raise MalformedRequest(f"the body must be a JSON object with {key}")
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        raise InvalidRequest(describe_validation(error)) from error


def describe_validation(error: ValidationError) -> str:
    """One line that names every key at fault."""
    parts = []
    for detail in error.errors(include_url=False, include_context=False):
        where = ".".join(str(step) for step in detail["loc"])
        what = "unknown key" if detail["type"] == "extra_forbidden" else detail["msg"]
        parts.append(f"[{where}] {what}" if where else what)
    return "; ".join(parts)


def is_attached(mapping: dict[str, Any]) -> bool:
    """Whether a mapping holds an attachment of any version. A request to be attached (`mappings.attach_requests`) is not one."""
    meta = (mapping.get("_meta") or {}).get(META_KEY)
    return meta is not None and not (isinstance(meta, dict) and "generations" not in meta)


def read_attachment(mapping: dict[str, Any]) -> Attachment | None:
    """The attachment in an index's mapping (`{"_meta": ..., "properties": ...}`), or None.

    Raises InvalidRequest when `_meta.esblend` is there but this version cannot read it.
    """
    if not is_attached(mapping):
        return None
    try:
        return Attachment.model_validate(mapping["_meta"][META_KEY])
    except ValidationError as error:
        raise InvalidRequest(
            f"[_meta.{META_KEY}] cannot be read by this version of esblend: {describe_validation(error)}"
        ) from error
