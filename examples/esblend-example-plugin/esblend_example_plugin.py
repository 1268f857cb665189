"""One minimal plug-in of each kind. Install the package beside esblend in the gateway and the workers."""

import itertools
import re
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from esblend.encoder.model import Tokens
from esblend.encoder.service_tokens import ApproximateTokens
from esblend.settings import Settings
from mappings.attachment import PassageSettings
from mappings.passages import Passage
from mappings.source import SourceText
from query.fusion.ranked_lists import FusedHit, LegContribution, RankedLeg


class HashingModel:
    """`hashing:N`: words hashed into N dimensions (Weinberger et al., ICML 2009). No neural network."""

    backend, precision, similarity = "hashing", "exact", "dot_product"
    query_prompt = document_prompt = ""
    shorter_dims: tuple[int, ...] = ()
    max_tokens = 8192

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = f"hashing:{name}"
        self.digest = f"hashing-{name}"
        self.tokenizer = ApproximateTokens()
        self._dims = int(name)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self._dims), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in re.findall(r"\w+", text.lower()):
                row[zlib.crc32(word.encode()) % self._dims] += 1
            row[0] += 1e-3  # a text without words needs a vector, too
        return vectors


def hashing_model(name: str, settings: Settings) -> HashingModel:
    return HashingModel(name, settings)


def by_lines(source: SourceText, tokenizer: Tokens, settings: PassageSettings) -> list[Passage]:
    """One passage per line that is not blank."""
    lines = [match for match in re.finditer(r"[^\n]+", source.text) if match.group().strip()]
    bounds = [0, *(line.start() for line in lines[1:]), len(source.text)]
    return [Passage(start, end, source.text[start:end]) for start, end in itertools.pairwise(bounds) if lines]


def best_of(legs: Sequence[RankedLeg]) -> list[FusedHit]:
    """The higher of a document's shares of each leg's best score."""
    fused = []
    for key in dict.fromkeys(key for leg in legs for key in leg.scores):
        shares = [leg.scores.get(key, 0.0) / max(leg.scores.values(), default=1.0) for leg in legs]
        top = max(range(len(legs)), key=lambda position: shares[position])
        parts = tuple(
            LegContribution(leg.name, 1.0, None, leg.scores.get(key), shares[n], shares[n] if n == top else 0.0)
            for n, leg in enumerate(legs)
        )
        fused.append(FusedHit(key, shares[top], parts))
    return sorted(fused, key=lambda hit: -hit.score)


class SharedWords:
    """`shared-words:`: relevance is the share of the query's words that a text contains."""

    def scores(self, query: str, texts: Sequence[str]) -> NDArray[np.float64]:
        words = set(query.lower().split())
        return np.array([len(words & set(text.lower().split())) / max(1, len(words)) for text in texts])


def shared_words(name: str, settings: Settings) -> SharedWords:
    return SharedWords()
