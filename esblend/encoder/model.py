"""The interface between the encoder and any model, and the form in which an index stores a model's vectors."""

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Tokens(Protocol):
    """The part of a tokenizer that the splitter of passages uses."""

    special_tokens: int
    """Word pieces that the model adds to every text."""

    def spans(self, text: str) -> list[tuple[int, int]]:
        """(start, end) of each word piece of `text`, in characters (code points), without special tokens."""
        ...

    def count(self, text: str) -> int:
        """Word pieces of `text` without special tokens, uncut."""
        ...


class Model(Protocol):
    """A loaded model: turns texts into its raw vectors. Thread-safe.

    The entry points `esblend.encoders` name factories of models: `factory(name, settings)` for a model named
    `<entry point>:<name>`. A model may also have `detail: str`, a sentence on how it runs, which the status shows.
    """

    name: str
    digest: str
    """Differs between two models whenever their vectors differ."""
    backend: str
    precision: str
    max_tokens: int
    """Longest input in word pieces, special tokens included."""
    query_prompt: str
    document_prompt: str
    similarity: str
    """The similarity that the model was trained for, by Elasticsearch's name."""
    shorter_dims: tuple[int, ...]
    """Widths to which its vectors may be cut (Kusupati et al., Matryoshka Representation Learning, NeurIPS 2022)."""

    @property
    def tokenizer(self) -> Tokens: ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), width), in the order given; `texts` is not empty. Raises EsblendError."""
        ...


@dataclass(frozen=True)
class Form:
    """The form in which an index stores a model's vectors. Vectors of two forms must not be mixed."""

    dims: int | None = None
    """Number of leading components that are kept; None keeps all."""
    unit: bool = True
    """Whether vectors are scaled to Euclidean length 1."""
    document_prompt: str | None = None
    """Prepended to documents; None: the prompt in the model's own configuration."""
    query_prompt: str | None = None

    @property
    def key(self) -> str:
        return json.dumps(astuple(self))


AS_IS = Form()
