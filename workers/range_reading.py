"""Reads the documents of a range of changes: version, text, the generation's object, and the number of vectors, in one search.

(after, until] -> search in order of sequence numbers -> page -> next page -> ... until the range or the task's limit ends

A search sees one version of a document with its vectors, so the number of vectors belongs to the version that was read. The feed
refreshed the index after it read `until`, so every change of the range is visible. A version that is newer and not visible yet
makes the write conflict, and the feed delivers it in a later range.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from elastic_transport import ObjectApiResponse, TransportError
from elasticsearch import ApiError, Elasticsearch, NotFoundError

from esblend.broker import DocumentRef, RangeTask
from esblend.errors import IndexUnavailable
from mappings.coverage import vector_count
from workers.documents import (
    Document,
    DocumentKey,
    Target,
    document_from,
    is_missing_index,
    is_too_large,
    read_documents,
    stored_paths,
)
from workers.retries import retried

_KEEP_ALIVE = "1m"
_SMALL_PAGE = 250_000
"""Characters of text. A page with fewer is followed by one of twice as many documents, each of which costs Elasticsearch less."""
_LARGE_PAGE = 1_000_000
"""Characters of text. After a page with more, pages have as few documents as the first one."""
_UNSEARCHABLE = {("search_phase_execution_exception", 503), ("index_closed_exception", 400)}
"""Error type and status of a search on a shard without a node, and on a closed index."""
Hit = dict[str, Any]


@dataclass(frozen=True)
class Page:
    """The documents of the next changes. `found`: those that the search showed; some of them may be deleted since."""

    found: list[DocumentKey]
    documents: list[Document]
    numbers: list[int]
    """The sequence number of each found document."""


class RangeReader:
    """The pages of one range task. `until`: every change up to here has been read."""

    def __init__(self, es: Elasticsearch, target: Target, task: RangeTask, size: int, most: int | None = None) -> None:
        """`size`: documents in the first page; pages of short texts grow up to `most` documents."""
        most = max(size, most or size)
        self.until = task.after
        self._es = es
        self._target = target
        self._task = task
        self._most = min(most, max(1, target.result_window - 1))
        self._size = self._first = min(size, self._most)
        # The last refresh may be minutes old, and a deletion as well: Elasticsearch forgets it after 60 s. A write that has only
        # an external version as its condition would then create the document again, so these are read in real time.
        self._is_realtime = target.attachment.versioning == "external"

    def pages(self) -> Iterator[Page]:
        """The pages, read one by one. Raises IndexUnavailable while the shard cannot be searched as a whole."""
        documents = 0
        while self.until < self._task.until and documents < self._task.max_documents:
            hits, until = self._read(min(self._size, self._task.max_documents - documents))
            page = self._page(hits)
            documents += len(hits)
            self.until = until
            yield page
            characters = sum(len(document.source.text) for document in page.documents)
            if characters < _SMALL_PAGE and not self._is_realtime:
                self._size = min(self._most, 2 * self._size)
            elif characters > _LARGE_PAGE:
                self._size = min(self._first, self._size)

    def _page(self, hits: list[Hit]) -> Page:
        ids = [(hit["_id"], hit.get("_routing")) for hit in hits]
        numbers = [int(hit["_seq_no"]) for hit in hits]
        if self._is_realtime:
            references = [
                DocumentRef(id=hit["_id"], seq_no=hit["_seq_no"], routing=hit.get("_routing")) for hit in hits
            ]
            return Page(ids, read_documents(self._es, self._target, references) if references else [], numbers)
        documents = [document_from(hit, self._target, vectors=round(hit["_score"] or 0)) for hit in hits]
        return Page(ids, documents, numbers)

    def _read(self, size: int) -> tuple[list[Hit], int]:
        """About `size` hits, and the number up to which they are complete. After a shrink several documents have the same sequence
        number. A page never ends between two of them: it is shorter than `size`, or longer when one number has more documents.
        """
        try:
            if self._target.result_window == 1:  # no search shows the next number beside a document
                first = self._search(self.until, self._task.until, 1)
                number = first[0]["_seq_no"] if first else self._task.until
                return (self._read_number(number, 1) if first else []), number
            hits = self._search(self.until, self._task.until, size + 1)
            if len(hits) <= size:
                return hits, self._task.until
            next_number = hits[-1]["_seq_no"]
            complete = [hit for hit in hits if hit["_seq_no"] < next_number]
            if complete:
                return complete, complete[-1]["_seq_no"]
            return self._read_number(next_number, size), next_number
        except NotFoundError as error:
            if is_missing_index(error):
                return [], self._task.until
            raise IndexUnavailable(f"[{self._target.index}] cannot be searched: {error.error}") from error
        except Exception as error:
            if not is_too_large(error) or size == 1:
                raise
            # A single document may be as large as a whole response, so fewer documents are read at a time.
            self._size = self._most = size // 2
            return self._read(self._size)

    def _read_number(self, number: int, size: int) -> list[Hit]:
        """All documents with one sequence number, in pages of `size`. A number can repeat as often as the index had shards before
        it was shrunk: at most 1,024 times. Only a point in time orders documents of one number.
        """
        opened = self._request(
            lambda: self._es.open_point_in_time(
                index=self._target.index, keep_alive=_KEEP_ALIVE, preference=f"_shards:{self._task.shard}"
            )
        )
        pit = {"id": opened["id"], "keep_alive": _KEEP_ALIVE}
        hits: list[Hit] = []
        try:
            while True:
                after = {"search_after": hits[-1]["sort"]} if hits else {}
                page = self._search(number - 1, number, size, pit=pit, **after)
                hits += page
                if len(page) < size:
                    return hits
        finally:
            with contextlib.suppress(ApiError, TransportError):  # it expires
                self._es.close_point_in_time(id=pit["id"])

    def _search(
        self, after: int, until: int, size: int, pit: dict[str, str] | None = None, search_after: Any = None
    ) -> list[Hit]:
        own = [{"range": {"_seq_no": {"gte": first, "lte": last}}} for first, last in self._task.without]
        changes = {"filter": [{"range": {"_seq_no": {"gt": after, "lte": until}}}], "must_not": own}
        source: Any = False if self._is_realtime else {"includes": stored_paths(self._target)}
        # A search on a point in time breaks ties by [_shard_doc].
        where: dict[str, Any] = (
            {"index": self._target.index, "preference": f"_shards:{self._task.shard}"} if pit is None else {"pit": pit}
        )
        response = self._request(
            lambda: self._es.search(
                **where,
                query={"bool": {**changes, "should": [vector_count(self._target.attachment)]}},
                sort=[{"_seq_no": "asc"}],
                search_after=search_after,
                track_scores=True,  # the score is the number of vectors
                size=size,
                source=source,
                seq_no_primary_term=True,
                version=True,
                track_total_hits=False,
                allow_partial_search_results=False,
            )
        )
        if pit is not None:
            pit["id"] = response["pit_id"]
        return list(response["hits"]["hits"])

    def _request(self, send: Callable[[], ObjectApiResponse[Any]]) -> ObjectApiResponse[Any]:
        try:
            return retried(send, is_final=lambda error: is_too_large(error) or _is_unsearchable(error))
        except ApiError as error:
            if _is_unsearchable(error):
                raise IndexUnavailable(
                    f"shard {self._task.shard} of [{self._target.index}] cannot be searched: it is closed or has no node"
                ) from error
            raise


def _is_unsearchable(error: Exception) -> bool:
    """Whether only this index fails; waiting for it would delay the others. A full search queue has status 429."""
    return isinstance(error, ApiError) and (error.error, error.meta.status) in _UNSEARCHABLE
