"""From documents to vectors: passages, the encoder, and the isolation of documents that the encoder fails on.

documents -> too many attempts? -> passages -> vectors
                    \\-> dead letter    \\-> fails: is the encoder well? halve until the failing document is alone
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from esblend.encoder.encoder import Encoder
from esblend.errors import EsblendError, ModelError
from esblend.metrics import PASSAGES
from mappings.attachment import EMBEDDED, NO_TEXT
from mappings.passages import Passage, read_ahead, split
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
    """Turns documents of one target into vectors."""

    target: Target
    encoder: Encoder
    encode: Encode
    """The encoder's `encode_documents`, or a cache in front of it."""
    attempts: Attempts

    def run(self, documents: Sequence[Document]) -> tuple[list[Embedded], list[Failed]]:
        """Embed documents that have a text. Raises the encoder's error when the encoder itself fails, on whatever text.

        The attempts at documents that are given up count until the caller has written their letters (`forget_given_up`): otherwise
        another document that kills the process would start their count again.
        """
        counts = dict(zip(documents, self.attempts.count(_keys(documents)), strict=True))
        given_up = [document for document, count in counts.items() if count >= MAX_ATTEMPTS]
        failed = [
            Failed(document, f"its worker died {counts[document]} times while embedding it", counts[document])
            for document in given_up
        ]
        groups = [[document] for document, count in counts.items() if MAX_TOGETHER <= count < MAX_ATTEMPTS]
        groups.append([document for document, count in counts.items() if count < MAX_TOGETHER])
        embedded: list[Embedded] = []
        for group in filter(None, groups):
            with self.attempts.started(_keys(group)):
                group_embedded, group_failed = self._embed(group)
            embedded += group_embedded
            failed += group_failed
        return embedded, failed

    def _embed(self, documents: Sequence[Document]) -> tuple[list[Embedded], list[Failed]]:
        split_documents: list[tuple[Document, list[Passage]]] = []
        failed: list[Failed] = []
        settings = self.target.generation.passages
        tokenizer = read_ahead([document.source for document in documents], self.encoder.tokenizer, settings)
        for document in documents:
            if not document.can_be_guarded:
                failed.append(Failed(document, _UNGUARDABLE))
                continue
            try:
                passages = split(document.source, tokenizer, settings)
            except ModelError:
                raise  # the service that tokenises is unavailable
            except Exception as error:  # the Rust tokenizer raises bare Exception
                failed.append(Failed(document, f"the text cannot be tokenised: {error}"))
                continue
            limit = self.target.nested_limit if self.target.attachment.is_nested else 1
            if len(passages) > limit:
                failed.append(Failed(document, _too_many(len(passages), limit)))
            else:
                split_documents.append((document, passages))
        # A text may have characters and still not one word piece.
        without = [
            Embedded(document, [], self._no_vectors(), NO_TEXT)
            for document, passages in split_documents
            if not passages
        ]
        embedded, failed_to_encode = self._encode_isolating([pair for pair in split_documents if pair[1]])
        return without + embedded, failed + failed_to_encode

    def _no_vectors(self) -> Vectors:
        return np.empty((0, self.target.generation.model.dims), dtype=np.float32)

    def _encode_isolating(
        self, documents: Sequence[tuple[Document, list[Passage]]]
    ) -> tuple[list[Embedded], list[Failed]]:
        """Encode all passages at once; when that fails, halve until the failing document is alone.

        Nothing is halved while the encoder itself fails: its service is unavailable, or its device is broken.
        """
        if not documents:
            return [], []
        try:
            return self._encode_together(documents), []
        except ModelError:
            raise  # by definition the model's fault, not a text's
        except Exception as error:  # models and their runtimes raise any type
            self.encoder.encode_query("esblend")  # raises when the encoder fails on every text
            if len(documents) == 1:
                return [], [Failed(documents[0][0], describe(error))]
            log.warning("batch failed, halving it", documents=len(documents), cause=type(error).__name__)
        middle = len(documents) // 2
        embedded, failed = self._encode_isolating(documents[:middle])
        other_embedded, other_failed = self._encode_isolating(documents[middle:])
        return embedded + other_embedded, failed + other_failed

    def _encode_together(self, documents: Sequence[tuple[Document, list[Passage]]]) -> list[Embedded]:
        vectors = self.encode([passage.text for _, passages in documents for passage in passages])
        PASSAGES.inc(len(vectors))
        embedded, first = [], 0
        for document, passages in documents:
            embedded.append(Embedded(document, passages, vectors[first : first + len(passages)]))
            first += len(passages)
        return embedded


def document_key(document: Document) -> str:
    """The name of a document in `Attempts`."""
    return document.id if document.routing is None else f"{document.id}\0{document.routing}"


def forget_given_up(attempts: Attempts, failed: Sequence[Failed]) -> None:
    """The letters are written: a new text or a retry of these documents gets as many attempts again."""
    attempts.forget(_keys([failure.document for failure in failed if failure.attempts >= MAX_ATTEMPTS]))


def _keys(documents: Sequence[Document]) -> list[str]:
    return [document_key(document) for document in documents]


def describe(error: Exception) -> str:
    """The error without the document's text."""
    return error.reason if isinstance(error, EsblendError) else f"{type(error).__name__} in the encoder"


def _too_many(passages: int, limit: int) -> str:
    if limit == 1:
        return (
            f"its text has {passages} passages, but the attachment stores one vector per document: shorten it, "
            "or attach with [vector.layout: passages]"
        )
    return (
        f"its text has {passages} passages, but a document of this index may have {limit} nested objects: "
        "raise [index.mapping.nested_objects.limit] or attach with longer passages, then retry it"
    )
