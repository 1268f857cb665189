"""From documents to vectors: passages, the encoder, and what to do with a document that it cannot take.

documents -> begun too often? -> passages -> vectors
                  \\-> dead       \\-> fails: halve until the poisonous document stands alone
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from esblend.encoder.encoder import Encoder
from esblend.errors import EsblendError
from esblend.metrics import PASSAGES
from mappings.attachment import EMBEDDED
from mappings.passages import Passage, split
from workers.attempts import MAX_ATTEMPTS, MAX_TOGETHER, Attempts
from workers.documents import Document, Target

log = structlog.get_logger()
Vectors = NDArray[np.float32]
_UNGUARDABLE = (
    "a source field holds a whole number beyond 64 bits, which the guard cannot fingerprint: "
    "write it as a string, or attach without the guard"
)
Encode = Callable[[list[str]], Vectors]


@dataclass(frozen=True)
class Embedded:
    """A document with its passages and their vectors: (len(passages), dims), float32, unit length."""

    document: Document
    passages: list[Passage]
    vectors: Vectors
    state: str = EMBEDDED


@dataclass(frozen=True)
class Failed:
    document: Document
    error: str
    attempts: int = 1


@dataclass(frozen=True)
class Encoding:
    """What turns the documents of one target into vectors."""

    target: Target
    encoder: Encoder
    encode: Encode
    """The encoder's own `encode_documents`, or a cache before it."""
    attempts: Attempts

    def run(self, documents: Sequence[Document]) -> tuple[list[Embedded], list[Failed]]:
        """Embed documents that have a text. Raises when the fault is the encoder's and no document's."""
        counts = dict(zip(documents, self.attempts.of([document.id for document in documents]), strict=True))
        given_up = [document for document, count in counts.items() if count >= MAX_ATTEMPTS]
        self.attempts.forget([document.id for document in given_up])
        failed = [
            Failed(document, f"its worker died {counts[document]} times while embedding it", counts[document])
            for document in given_up
        ]
        groups = [[document] for document, count in counts.items() if MAX_TOGETHER <= count < MAX_ATTEMPTS]
        groups.append([document for document, count in counts.items() if count < MAX_TOGETHER])
        embedded: list[Embedded] = []
        for group in filter(None, groups):
            with self.attempts.begun([document.id for document in group]):
                good, bad = self._embed(group)
            embedded += good
            failed += bad
        return embedded, failed

    def _embed(self, documents: Sequence[Document]) -> tuple[list[Embedded], list[Failed]]:
        split_documents: list[tuple[Document, list[Passage]]] = []
        failed: list[Failed] = []
        for document in documents:
            if not document.can_be_guarded:
                failed.append(Failed(document, _UNGUARDABLE))
                continue
            try:
                passages = split(document.source, self.encoder.tokenizer, self.target.generation.passages)
            except Exception as error:  # the Rust tokenizer raises bare Exception
                failed.append(Failed(document, f"the text cannot be tokenised: {error}"))
                continue
            limit = self.target.nested_limit if self.target.attachment.is_nested else 1
            if len(passages) > limit:
                failed.append(Failed(document, _too_many(len(passages), limit)))
            else:
                split_documents.append((document, passages))
        embedded, poisonous = self._encode_or_halve(split_documents)
        return embedded, failed + poisonous

    def _encode_or_halve(
        self, documents: Sequence[tuple[Document, list[Passage]]]
    ) -> tuple[list[Embedded], list[Failed]]:
        """Encode all passages at once; when that fails, halve until the poisonous document stands alone."""
        try:
            return self._encode_together(documents), []
        except Exception as error:  # whatever a model or its runtime raises
            if len(documents) == 1:
                self.encoder.encode_query("esblend")  # raises when the fault is the encoder's and not the document's
                return [], [Failed(documents[0][0], describe(error))]
            log.warning("a batch failed, halving it", documents=len(documents), cause=type(error).__name__)
        middle = len(documents) // 2
        embedded, failed = self._encode_or_halve(documents[:middle])
        more_embedded, more_failed = self._encode_or_halve(documents[middle:])
        return embedded + more_embedded, failed + more_failed

    def _encode_together(self, documents: Sequence[tuple[Document, list[Passage]]]) -> list[Embedded]:
        vectors = self.encode([passage.text for _, passages in documents for passage in passages])
        PASSAGES.inc(len(vectors))
        embedded, first = [], 0
        for document, passages in documents:
            embedded.append(Embedded(document, passages, vectors[first : first + len(passages)]))
            first += len(passages)
        return embedded


def describe(error: Exception) -> str:
    """What went wrong, without the document's text."""
    return error.reason if isinstance(error, EsblendError) else f"{type(error).__name__} in the encoder"


def _too_many(passages: int, limit: int) -> str:
    if limit == 1:
        return (
            f"its text makes {passages} passages, but the attachment keeps one vector a document: shorten it, "
            "or attach with [vector.layout: passages]"
        )
    return (
        f"its text makes {passages} passages, but a document of this index may have {limit} nested objects: "
        "raise [index.mapping.nested_objects.limit] or attach with longer passages, then retry it"
    )
