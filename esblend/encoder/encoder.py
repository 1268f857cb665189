"""The encoder: turns texts into vectors that can be indexed. Workers and gateway share it.

texts -> prompt -> model -> cut to the requested width -> check -> L2 normalise -> vectors
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from esblend.encoder.folder import find_model
from esblend.encoder.local_model import EncoderOptions, LocalModel
from esblend.encoder.model import AS_IS, Form, Model, Tokens
from esblend.encoder.model_folder import ModelFolder
from esblend.errors import EncodingError, ModelError

__all__ = ["Encoder", "EncoderOptions", "load_encoder", "unit_vectors", "usable"]


class Encoder:
    """A loaded model. Thread-safe.

    On unit vectors a dot product d is the cosine, and the squared Euclidean distance is 2 - 2d.
    """

    def __init__(self, model: Model, query_model: Model | None = None) -> None:
        """`query_model`: the model that embeds the queries, if it differs from the documents' model. Both have the same width.

        Raises ModelError when the widths differ, EncodingError when the model gives unusable vectors.
        """
        self.model = model
        self._query_model = query_model or model
        self.name, self.digest, self.backend, self.precision = model.name, model.digest, model.backend, model.precision
        # The first run is several times slower, so it happens here and not in a caller's request.
        self.dims = _width(model)
        if self._query_model is not model and _width(self._query_model) != self.dims:
            raise ModelError(f"model [{model.name}] gives vectors of different widths for documents and for queries")

    @property
    def probe(self) -> tuple[float, ...] | None:
        """The probe vector of a model behind a service (see `esblend.encoder.probe_vector`); None for other models."""
        return getattr(self.model, "probe", None)

    @property
    def tokenizer(self) -> Tokens:
        return self.model.tokenizer

    def describe(self) -> dict[str, str]:
        """The backend and precision in use and, where something prevents a faster one, the reason as `detail`."""
        described = {"backend": self.backend, "precision": self.precision}
        # Models of plug-ins need not have a detail.
        detail = getattr(self.model, "detail", "")
        return {**described, "detail": detail} if detail else described

    def max_tokens(self, form: Form = AS_IS) -> int:
        """Longest text in word pieces, special tokens included, that the document prompt leaves room for."""
        return self.model.max_tokens - self._prompt_tokens(form)

    def encode_documents(self, texts: Sequence[str], form: Form = AS_IS) -> NDArray[np.float32]:
        """Vectors of document texts: (len(texts), dims), float32, in the order given.

        Texts of more than `max_tokens` word pieces are cut, so split long texts first.
        Raises EncodingError with the positions of texts whose vector is NaN, infinite or zero.
        """
        prompt = self.model.document_prompt if form.document_prompt is None else form.document_prompt
        return self._encode(self.model, texts, prompt, form)

    def encode_query(self, text: str, form: Form = AS_IS) -> NDArray[np.float32]:
        """Vector of one query: (dims,), float32. Raises EncodingError as `encode_documents` does."""
        vector: NDArray[np.float32] = self.encode_queries([text], form)[0]
        return vector

    def encode_queries(self, texts: Sequence[str], form: Form = AS_IS) -> NDArray[np.float32]:
        """Vectors of queries: (len(texts), dims), as `encode_query`."""
        prompt = self.model.query_prompt if form.query_prompt is None else form.query_prompt
        return self._encode(self._query_model, texts, prompt, form)

    def _encode(self, model: Model, texts: Sequence[str], prompt: str, form: Form) -> NDArray[np.float32]:
        if not texts:
            return np.empty((0, form.dims or self.dims), dtype=np.float32)
        vectors = model.embed([prompt + text for text in texts] if prompt else texts)[:, : form.dims]
        return unit_vectors(vectors) if form.unit else usable(vectors)

    def _prompt_tokens(self, form: Form) -> int:
        prompt = self.model.document_prompt if form.document_prompt is None else form.document_prompt
        return self.tokenizer.count(prompt) if prompt else 0


def _width(model: Model) -> int:
    return int(usable(model.embed(["esblend warms up"])).shape[1])


def usable(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """`vectors` (n, dims). Raises EncodingError, with the positions, when a row is NaN, infinite or zero."""
    _norms(vectors)
    return vectors.astype(np.float32)


def unit_vectors(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of `vectors` (n, dims) scaled to Euclidean length 1. Raises EncodingError as `usable` does."""
    scaled: NDArray[np.float32] = (vectors / _norms(vectors)[:, None]).astype(np.float32)
    return scaled


def _norms(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    with np.errstate(over="ignore", invalid="ignore"):
        norms: NDArray[np.float64] = np.linalg.norm(vectors.astype(np.float64), axis=1)
    bad = np.flatnonzero(~np.isfinite(norms) | (norms < 1e-12))
    if bad.size:
        raise EncodingError(
            f"the model gave a NaN, infinite or zero vector for text number {bad.tolist()} of its batch"
        )
    return norms


def load_encoder(name: str, options: EncoderOptions | None = None) -> Encoder:
    """Find, load and warm up a model that runs on this machine. Raises ModelError with the model's name and advice."""
    return encoder_of(find_model(name), options or EncoderOptions())


def encoder_of(folder: ModelFolder, options: EncoderOptions) -> Encoder:
    """Load and warm up a model. A folder with a Router has a separate model for its queries. Raises ModelError."""
    queries = LocalModel(folder.queries, options) if folder.queries else None
    return Encoder(LocalModel(folder, options), queries)
