"""The attachment: how an index is embedded and searched. It is stored in the index's own mapping, in `_meta.esblend`."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from esblend.blend_vocabulary import Normalizer
from esblend.encoder.model import Form
from esblend.errors import InvalidRequest

FORMAT: Literal[1] = 1
META_KEY = "esblend"
EMBEDDED, NO_TEXT, DEAD_LETTER, DROPPED = "embedded", "no_text", "dead_letter", "dropped"
"""A document's `state`, for each generation. Dropped: a dead letter that an operator dropped; a new text is embedded again."""
ADOPTED = "adopted"
"""The state of a document whose vector another application wrote; esblend embeds it once its text changes."""
FieldName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=512)]


class Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PassageSettings(Frozen):
    """How texts are split. The default model was trained on 250 word pieces."""

    max_tokens: int = Field(
        default=250, ge=16, le=8192, description="Word pieces in one passage, special tokens included."
    )
    overlap_tokens: int = Field(
        default=30, ge=0, description="Word pieces, approximately, that a passage shares with the previous one."
    )

    fields: Literal["joined", "apart"] = Field(
        default="joined",
        description="apart: each passage is of one source field, and each field can have a separate weight.",
    )
    splitter: str = Field(default="sentences", description="An entry point of `esblend.passages`.")

    @field_validator("overlap_tokens")
    @classmethod
    def _half_at_most(cls, value: int, info: Any) -> int:
        if "max_tokens" in info.data and value > info.data["max_tokens"] // 2:
            raise ValueError("must be at most half of max_tokens")
        return value


Similarity = Literal["dot_product", "cosine", "max_inner_product", "l2_norm"]


class VectorOptions(Frozen):
    """The vectors and the `dense_vector` field that stores them."""

    type: Literal["hnsw", "int8_hnsw", "int4_hnsw", "bbq_hnsw", "flat", "int8_flat", "int4_flat", "bbq_flat"] = (
        "int8_hnsw"
    )
    m: int | None = Field(default=None, ge=2, le=512)
    ef_construction: int | None = Field(default=None, ge=2, le=3200)
    dims: int | None = Field(
        default=None, ge=1, le=4096, description="The model's dimensions, or fewer if the model supports that."
    )
    element_type: Literal["float", "bfloat16"] = Field(default="float", description="bfloat16: half the disk space.")
    similarity: Similarity = Field(
        default="dot_product",
        description="dot_product and cosine: unit vectors; max_inner_product and l2_norm: unchanged vectors of the model. "
        "The default is the similarity that the model was trained for.",
    )
    layout: Literal["passages", "flat"] = Field(
        default="passages", description="flat: one vector per document, for texts that fit into one passage."
    )
    oversample: float | None = Field(
        default=None, ge=1, le=10, description="Score this many times k candidates again by their full vectors."
    )


class ModelIdentity(Frozen):
    """A model, identified by its name and the digest of its files."""

    name: str
    digest: str
    dims: int
    probe: tuple[float, ...] | None = None
    """The probe vector of a model behind a service (`esblend.encoder.probe_vector`). Two probes of one model differ slightly, so
    identities are compared without it."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ModelIdentity):
            return NotImplemented
        return (self.name, self.digest, self.dims) == (other.name, other.digest, other.dims)

    def __hash__(self) -> int:
        return hash((self.name, self.digest, self.dims))


class Prompts(Frozen):
    """Prefixes of texts, such as `query: `; None: the prompts of the model's own configuration."""

    query: str | None = Field(default=None, max_length=1000)
    document: str | None = Field(default=None, max_length=1000)


class Adopted(Frozen):
    """A `dense_vector` field that existed before the attachment."""

    field: FieldName
    keep_current: bool = Field(default=False, description="Embed new and changed documents into this field.")


class QueryProfile(Frozen):
    """Options of `hybrid` queries; None: esblend's own default."""

    fields: list[str] | None = Field(default=None, min_length=1)
    alpha: float | None = Field(default=None, ge=0, le=1)
    fusion: str | None = Field(default=None, description="linear, rrf, or an entry point of `esblend.fusions`.")
    weights: dict[str, Annotated[float, Field(ge=0)]] | None = Field(
        default=None,
        description="Weights of the legs, instead of alpha: lexical, semantic, or source fields that are embedded apart.",
    )
    normalizer: Normalizer | None = None
    rank_window_size: int | None = Field(default=None, ge=1, le=10_000)
    rank_constant: int | None = Field(default=None, ge=1, description="For rrf.")


class QueryDefaults(QueryProfile):
    """Defaults of `hybrid` queries on this index."""

    # None and not an empty object: versions without profiles do not follow attachments that have the key.
    profiles: dict[FieldName, QueryProfile] | None = Field(
        default=None,
        max_length=100,
        description="Named sets of options, which `hybrid.profile` selects instead of the defaults.",
    )


class Generation(Frozen):
    """One model with its passage settings. A search never mixes vectors of two generations."""

    model: ModelIdentity
    passages: PassageSettings
    vector: VectorOptions
    query_model: ModelIdentity | None = None
    """Embeds queries, if it is not the documents' model."""
    prompts: Prompts = Prompts()
    adopted: Adopted | None = None

    @property
    def searched_by(self) -> ModelIdentity:
        return self.query_model or self.model

    @property
    def form(self) -> Form:
        """How the model's output becomes vectors."""
        is_unit = self.vector.similarity in ("dot_product", "cosine")
        return Form(self.model.dims, is_unit, self.prompts.document, self.prompts.query)

    @property
    def is_followed(self) -> bool:
        """Whether esblend embeds documents; False when adopted vectors are only searched."""
        return self.adopted is None or self.adopted.keep_current


class BackfillControl(Frozen):
    """How existing documents are embedded; `esblend backfill` changes it at any time."""

    paused: bool = False
    documents_per_second: float | None = Field(default=None, gt=0, description="Upper limit; None: no limit.")


class Attachment(Frozen):
    """The content of `_meta.esblend`. An older esblend ignores an attachment of a newer `format`."""

    format: Literal[1] = FORMAT
    field: str
    """The object field that holds fingerprints and vectors."""
    source_fields: list[str]
    active: str
    """The name of the generation that searches use."""
    generations: dict[str, Generation]
    guard: bool = False
    final_pipeline_before: str | None = None
    """The index's own `final_pipeline`. The guard runs it first; detaching restores it."""
    versioning: Literal["internal", "external"] = "internal"
    backfill: BackfillControl = BackfillControl()
    defaults: QueryDefaults = QueryDefaults()

    @property
    def generation(self) -> Generation:
        return self.generations[self.active]

    def using(self, generation: str) -> "Attachment":
        """The same attachment with another active generation. Raises InvalidRequest on an unknown name."""
        if generation not in self.generations:
            names = ", ".join(f"[{name}]" for name in self.generations)
            raise InvalidRequest(f"no generation is called [{generation}]; the generations: {names}")
        return self if generation == self.active else self.model_copy(update={"active": generation})

    def with_profile(self, profile: str) -> "Attachment":
        """The same attachment with the options of a profile; the defaults supply the other options.

        Raises InvalidRequest on an unknown name.
        """
        profiles = self.defaults.profiles or {}
        if profile not in profiles:
            names = ", ".join(f"[{name}]" for name in profiles) or "none"
            raise InvalidRequest(
                f"no profile is called [{profile}]; the profiles in the attachment's [defaults.profiles]: {names}"
            )
        options = profiles[profile].model_dump(exclude_none=True)
        weighs = ("alpha", "weights")
        overridden = {key: None for key in weighs if any(other in options for other in weighs)}
        return self.model_copy(update={"defaults": self.defaults.model_copy(update={**overridden, **options})})

    @property
    def root(self) -> str:
        """Dotted path of the active generation's object."""
        return f"{self.field}.{self.active}"

    @property
    def is_nested(self) -> bool:
        """Whether a document may have several vectors, one per passage."""
        return self.generation.vector.layout == "passages"

    @property
    def has_fields_apart(self) -> bool:
        """Whether each passage is of one source field and records its name."""
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


def describe_validation(error: ValidationError) -> str:
    """One line that names every wrong key."""
    parts = []
    for detail in error.errors(include_url=False, include_context=False):
        where = ".".join(str(step) for step in detail["loc"])
        fault = "unknown key" if detail["type"] == "extra_forbidden" else detail["msg"]
        parts.append(f"[{where}] {fault}" if where else fault)
    return "; ".join(parts)


def is_attached(mapping: dict[str, Any]) -> bool:
    """Whether a mapping holds an attachment of any version. Neither an attach request (`mappings.mapping_requests`) nor a value
    that another client wrote (null, a string, an empty object) counts."""
    meta = (mapping.get("_meta") or {}).get(META_KEY)
    return isinstance(meta, dict) and "generations" in meta


def is_damaged(mapping: dict[str, Any]) -> bool:
    """Whether a mapping holds an attachment in this version's format that cannot be read."""
    if not is_attached(mapping) or mapping["_meta"][META_KEY].get("format", FORMAT) != FORMAT:
        return False
    try:
        Attachment.model_validate(mapping["_meta"][META_KEY])
    except ValidationError:
        return True
    return False


def read_attachment(mapping: dict[str, Any]) -> Attachment | None:
    """The attachment in an index's mapping (`{"_meta": ..., "properties": ...}`), or None.

    Raises InvalidRequest when this version cannot read `_meta.esblend`.
    """
    if not is_attached(mapping):
        return None
    try:
        return Attachment.model_validate(mapping["_meta"][META_KEY])
    except ValidationError as error:
        raise InvalidRequest(
            f"[_meta.{META_KEY}] cannot be read by this version of esblend: {describe_validation(error)}"
        ) from error
