"""What an encoder needs of a model, wherever it runs, and what an index may want of its vectors."""

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Tokens(Protocol):
    """What the splitter needs of a model's tokenizer."""

    special_tokens: int
    """Word pieces that the model adds to every text."""

    def spans(self, text: str) -> list[tuple[int, int]]:
        """(start, end) of each word piece of `text`, in characters (code points), without special tokens."""
        ...

    def count(self, text: str) -> int:
        """Word pieces of `text` without special tokens, uncut."""
        ...


class Model(Protocol):
    """A loaded model: texts to vectors as they come out of it. Thread-safe.

    Factories of such are found by the entry points `esblend.encoders`: `factory(name, settings)` for a model named
    `<entry point>:<name>`.
    """

    name: str
    digest: str
    """Differs where the vectors do."""
    backend: str
    precision: str
    max_tokens: int
    """Longest input in word pieces, special tokens included."""
    query_prompt: str
    document_prompt: str
    similarity: str
    """What the model was trained for: one of Elasticsearch's similarities."""
    shorter_dims: tuple[int, ...]
    """Widths that its vectors may be cut to (Kusupati et al., Matryoshka Representation Learning, NeurIPS 2022)."""

    @property
    def tokenizer(self) -> Tokens: ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), width), in the order given; `texts` is not empty. Raises EsblendError."""
        ...


@dataclass(frozen=True)
class Form:
    """What an index wants of a model's vectors. Two forms give vectors that must not be mixed."""

    dims: int | None = None
    """Cut to so many; None: all."""
    unit: bool = True
    """Whether they are scaled to Euclidean length 1."""
    document_prompt: str | None = None
    """Put before documents; None: what the model's own config says."""
    query_prompt: str | None = None

    @property
    def key(self) -> str:
        return json.dumps(astuple(self))


AS_IS = Form()
