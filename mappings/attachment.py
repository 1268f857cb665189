"""The attachment: how an index is embedded and searched. It lives in the index's own mapping, in `_meta.esblend`."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

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

    @field_validator("overlap_tokens")
    @classmethod
    def _half_at_most(cls, value: int, info: Any) -> int:
        if "max_tokens" in info.data and value > info.data["max_tokens"] // 2:
            raise ValueError("must be at most half of max_tokens")
        return value


class VectorOptions(_Frozen):
    """How Elasticsearch keeps the vectors: `index_options` of the `dense_vector` field."""

    type: Literal["hnsw", "int8_hnsw", "int4_hnsw", "bbq_hnsw", "flat", "int8_flat", "int4_flat", "bbq_flat"] = (
        "int8_hnsw"
    )
    m: int | None = Field(default=None, ge=2, le=512)
    ef_construction: int | None = Field(default=None, ge=2, le=3200)
    dims: int | None = Field(default=None, ge=1, le=4096, description="Checked against the model's width.")


class ModelIdentity(_Frozen):
    """A model by its name and by the digest of its files: two files under one name are two models."""

    name: str
    digest: str
    dims: int


class QueryDefaults(_Frozen):
    """What a `hybrid` query takes when it says nothing; None leaves esblend's own default."""

    fields: list[str] | None = Field(default=None, min_length=1)
    alpha: float | None = Field(default=None, ge=0, le=1)
    fusion: Literal["linear", "rrf"] | None = None
    rank_window_size: int | None = Field(default=None, ge=1, le=10_000)


class Generation(_Frozen):
    """One model with its passage settings. A search never mixes vectors of two."""

    model: ModelIdentity
    passages: PassageSettings
    vector: VectorOptions


class BackfillControl(_Frozen):
    """How the documents of before the attachment are embedded; changed by `esblend backfill` at any time."""

    paused: bool = False
    documents_per_second: float | None = Field(default=None, gt=0, description="At most so many; None: no limit.")


class AttachRequest(_Frozen):
    """The body of `PUT /_esblend/indices/{index}`."""

    source_fields: list[FieldName] = Field(min_length=1, max_length=32)
    model: str | None = None
    passages: PassageSettings = PassageSettings()
    vector: VectorOptions = VectorOptions()
    guard: bool = Field(default=False, description="Drop vectors in the very write that changes the text.")
    versioning: Literal["internal", "external"] = Field(
        default="internal", description="external: writers bring their own version numbers."
    )
    defaults: QueryDefaults = QueryDefaults()

    @field_validator("source_fields")
    @classmethod
    def _distinct(cls, value: list[str]) -> list[str]:
        if len(set(value)) != len(value):
            raise ValueError("names a field twice")
        return value


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

    @property
    def root(self) -> str:
        """Dotted path of the active generation's object."""
        return f"{self.field}.{self.active}"

    @property
    def passages_path(self) -> str:
        return f"{self.root}.passages"

    @property
    def vector_field(self) -> str:
        return f"{self.passages_path}.vector"

    @property
    def fingerprint_field(self) -> str:
        return f"{self.root}.fingerprint"

    @property
    def state_field(self) -> str:
        return f"{self.root}.state"

    def to_meta(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_none=True)


def parse_attach_request(body: Any) -> AttachRequest:
    """Raises MalformedRequest or InvalidRequest naming the key at fault."""
    if not isinstance(body, dict):
        raise MalformedRequest("the body must be a JSON object with [source_fields]")
    try:
        return AttachRequest.model_validate(body)
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


def read_attachment(mapping: dict[str, Any]) -> Attachment | None:
    """The attachment in an index's mapping (`{"_meta": ..., "properties": ...}`), or None.

    Raises InvalidRequest when `_meta.esblend` is there but this version cannot read it.
    """
    meta = (mapping.get("_meta") or {}).get(META_KEY)
    if meta is None:
        return None
    try:
        return Attachment.model_validate(meta)
    except ValidationError as error:
        raise InvalidRequest(
            f"[_meta.{META_KEY}] cannot be read by this version of esblend: {describe_validation(error)}"
        ) from error
