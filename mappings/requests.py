"""The bodies of attach, generation and defaults requests, parsed strictly."""

from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator

from esblend.errors import InvalidRequest, MalformedRequest
from mappings.attachment import (
    Adopted,
    FieldName,
    Frozen,
    PassageSettings,
    Prompts,
    QueryDefaults,
    VectorOptions,
    describe_validation,
)


class AttachRequest(Frozen):
    """The body of `PUT /_esblend/indices/{index}`."""

    source_fields: list[FieldName] = Field(min_length=1, max_length=32)
    model: str | None = None
    query_model: str | None = Field(default=None, description="Embeds queries, if it is not the documents' model.")
    prompts: Prompts = Prompts()
    passages: PassageSettings = PassageSettings()
    vector: VectorOptions = VectorOptions()
    adopt: Adopted | None = Field(default=None, description="Search the existing vectors of a dense_vector field.")
    guard: bool = Field(default=False, description="Remove vectors in the same write that changes their text.")
    versioning: Literal["internal", "external"] = Field(
        default="internal", description="external: applications write with their own version numbers."
    )
    defaults: QueryDefaults = QueryDefaults()

    @model_validator(mode="after")
    def _no_guard_over_adopted_vectors(self) -> "AttachRequest":
        if self.guard and self.adopt is not None:
            raise ValueError("[guard] does not work with [adopt]: leave one of them out")
        return self

    @field_validator("source_fields")
    @classmethod
    def _distinct(cls, value: list[str]) -> list[str]:
        if len(set(value)) != len(value):
            raise ValueError("names a field twice")
        return value


class GenerationRequest(Frozen):
    """The body of `POST /_esblend/indices/{index}/generations`; missing keys are taken from the active generation."""

    model: str | None = None
    query_model: str | None = None
    prompts: Prompts | None = None
    passages: PassageSettings | None = None
    vector: VectorOptions | None = None


R = TypeVar("R", AttachRequest, GenerationRequest, QueryDefaults)


def parse_attach_request(body: Any) -> AttachRequest:
    """Raises MalformedRequest, or InvalidRequest that names the wrong key."""
    request = _parse(AttachRequest, body, "[source_fields]")
    _check_weights(request.defaults)
    return request


def parse_generation_request(body: Any) -> GenerationRequest:
    """As `parse_attach_request`."""
    return _parse(GenerationRequest, body, "[model]")


def parse_defaults(body: Any) -> QueryDefaults:
    """As `parse_attach_request`."""
    defaults = _parse(QueryDefaults, body, "defaults of a [hybrid] query")
    _check_weights(defaults)
    return defaults


def _check_weights(defaults: QueryDefaults) -> None:
    """Raises InvalidRequest when all legs have the weight 0: every document would have the score 0.

    Not part of the model, which has to read attachments that earlier versions accepted.
    """
    for options in (defaults, *(defaults.profiles or {}).values()):
        weights = dict(options.weights or {})
        lexical = weights.pop("lexical", 1.0)
        if lexical == 0 and weights and not any(weights.values()):
            raise InvalidRequest("[weights]: at least one weight must be above 0")


def _parse(kind: type[R], body: Any, key: str) -> R:
    if not isinstance(body, dict):
        raise MalformedRequest(f"the body must be a JSON object with {key}")
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        raise InvalidRequest(describe_validation(error)) from error
