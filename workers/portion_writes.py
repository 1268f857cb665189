"""Writes the results of a portion: vectors, states, dead letters.

embedded -> conditional bulk -> written | conflict (a newer version exists) | gone | rejected -> dead letter
failed   -> dead letter -> conditional bulk that marks the document
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from elasticsearch import Elasticsearch

from esblend.broker import EmbedResult
from workers.conditional_writes import write_all
from workers.dead_letter_writes import delete_letters, find_letters, write_dead_letters
from workers.documents import Document, DocumentKey, Target
from workers.encoding import Embedded, Failed
from workers.vector_writes import vector_write

Report = Callable[[dict[str, int]], None]


@dataclass(frozen=True)
class Portion:
    """Some documents of a task as they were read at `read_at` (monotonic seconds)."""

    requested: list[DocumentKey]
    """Ids with routing."""
    documents: list[Document]
    read_at: float
    may_have_letters: bool
    unlisted: Collection[DocumentKey] = ()
    """Documents that are marked as dead letters, but have no letter: their index is a clone or a restored snapshot, or the letters
    were deleted. They are tried again: each gets vectors or a new letter."""
    until: int | None = None
    """All changes of the task's range up to this sequence number are in this portion and the ones before it."""


def write_portion(
    es: Elasticsearch,
    target: Target,
    portion: Portion,
    embedded: Sequence[Embedded],
    failed: Sequence[Failed],
    report: Report,
    *,
    refresh: bool = False,
) -> EmbedResult:
    """Write the results of a portion. `report` gets the sequence numbers of the new versions by document id. `refresh`: searches
    see the vectors at once."""
    writes = [vector_write(target, result) for result in embedded]
    results = write_all(es, writes, read_at=portion.read_at, refresh=refresh)
    rejected = [Failed(result.write.document, result.reason) for result in results if result.is_rejected]
    failures = [*failed, *rejected]
    results = [result for result in results if not result.is_rejected]
    results += write_dead_letters(es, target, failures, read_at=portion.read_at)
    written = [result for result in results if result.seq_no is not None]
    gone = set(portion.requested) - {document.key for document in portion.documents}
    if portion.may_have_letters:
        current = {
            document.key for document in portion.documents if document.is_current and not document.is_dead_letter
        }
        resolved = {result.write.document.key for result in written} | current | gone
        resolved -= {failure.document.key for failure in failures}
        delete_letters(es, target.uuid, target.name, find_letters(es, target.uuid, target.name, resolved))
    # Not before the letters are deleted: the feed reads unreported writes again, and their letters are deleted then.
    report({result.write.document.id: result.seq_no for result in written if result.seq_no is not None})
    return EmbedResult(
        written=len(written),
        unchanged=len(portion.documents) - len(embedded) - len(failed),
        gone=len(gone) + sum(result.is_gone for result in results),
        conflicts=sum(result.is_conflict for result in results),
        dead_letters=len(failures),
        documents=len(portion.requested),
    )
