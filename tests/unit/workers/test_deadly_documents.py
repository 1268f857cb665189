"""Documents that kill the process that embeds them, while two portions are in the encoder."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from esblend.broker import EmbedResult
from esblend.encoder.encoder import Encoder
from esblend.encoder.service_tokens import ApproximateTokens
from mappings.attachment import Attachment, Generation, ModelIdentity, PassageSettings, VectorOptions
from mappings.source import SourceText
from workers.attempts import MAX_ATTEMPTS, Attempts
from workers.documents import Document, Target
from workers.encoding import Encoding, Failed, Vectors, document_key, forget_given_up
from workers.portion_flow import Encoded, PortionFlow
from workers.portion_writes import Portion

GENERATION = Generation(
    model=ModelIdentity(name="m", digest="d", dims=3), passages=PassageSettings(), vector=VectorOptions()
)
ATTACHMENT = Attachment(field="esblend", source_fields=["body"], active="g1", generations={"g1": GENERATION})
TARGET = Target("index", "uuid", ATTACHMENT, "g1", 10_000, 10_000)
PORTION = 10


class Death(BaseException):
    """The end of the process."""


class EncoderWithTokens:
    tokenizer = ApproximateTokens()


class CountedAttempts(Attempts):
    """Attempts that are counted here instead of in Redis. A dead process changes nothing any more."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.is_dead = False

    def count(self, documents: Sequence[str]) -> list[int]:
        return [self.counts.get(document, 0) for document in documents]

    @contextmanager
    def started(self, documents: Sequence[str]) -> Iterator[None]:
        if self.is_dead:
            raise Death
        self.counts |= {document: self.counts.get(document, 0) + 1 for document in documents}
        yield
        self.forget(documents)

    def forget(self, documents: Sequence[str]) -> None:
        for document in documents:
            if not self.is_dead:
                self.counts.pop(document, None)


@dataclass
class Worker:
    """Repeats a task, each time in a new process, until it succeeds."""

    documents: list[Document]
    attempts: CountedAttempts = field(default_factory=CountedAttempts)
    embedded: set[str] = field(default_factory=set)
    letters: list[Failed] = field(default_factory=list)
    deaths: int = 0

    def run(self) -> None:
        while True:
            try:
                self._flow().run(self._portions())
                return
            except Death:
                self.deaths += 1
                self.attempts.is_dead = False
                assert self.deaths < 100

    def _portions(self) -> Iterator[Portion]:
        done = self.embedded | {letter.document.id for letter in self.letters}
        documents = [document for document in self.documents if document.id not in done]
        for start in range(0, len(documents), PORTION):
            part = documents[start : start + PORTION]
            yield Portion([document.key for document in part], part, 0.0, False, until=start)

    def _flow(self) -> PortionFlow:
        def encode(texts: list[str]) -> Vectors:
            if any("deadly" in text for text in texts):
                self.attempts.is_dead = True
                raise Death
            return np.ones((len(texts), 3), dtype=np.float32)

        def embed(portion: Portion) -> Encoded:
            encoding = Encoding(TARGET, cast(Encoder, EncoderWithTokens()), encode, self.attempts)
            return Encoded(portion, *encoding.run(portion.documents))

        def write(encoded: Encoded) -> EmbedResult:
            if self.attempts.is_dead:
                raise Death
            self.embedded |= {result.document.id for result in encoded.embedded}
            self.letters += encoded.failed
            forget_given_up(self.attempts, encoded.failed)
            return EmbedResult()

        return PortionFlow(
            encode=embed,
            write=write,
            is_suspect=lambda portion: any(self.attempts.count([document_key(each) for each in portion.documents])),
            learn=lambda *_: None,
            ends_early=lambda: False,
            hold_seconds=600.0,
        )


def documents(count: int, deadly: set[int]) -> list[Document]:
    return [
        Document(
            str(number),
            None,
            number,
            1,
            1,
            SourceText("deadly" if number in deadly else "good", ""),
            "f",
            None,
            None,
            0,
        )
        for number in range(count)
    ]


def test_of_many_documents_only_the_deadly_ones_become_dead_letters() -> None:
    """Neither those that were in the encoder beside them, nor are they tried more often because there are several."""
    deadly = {10, 11, 19, 20, 70, 119}
    worker = Worker(documents(120, deadly))
    worker.run()
    assert sorted(int(letter.document.id) for letter in worker.letters) == sorted(deadly)
    assert {letter.attempts for letter in worker.letters} == {MAX_ATTEMPTS}
    assert worker.embedded == {str(number) for number in range(120) if number not in deadly}
    assert worker.deaths <= MAX_ATTEMPTS * len(deadly)
    assert worker.attempts.counts == {}
