"""Dead letters of written documents. Where Elasticsearch rejects the mark in the document, only the letter exists."""

from collections.abc import Mapping, Sequence

from elasticsearch import ApiError, AsyncElasticsearch

from mappings.attachment import Attachment
from mappings.dead_letter_index import DEAD_LETTERS_INDEX, letter_id
from query.gateway.written_documents import Written


class Letters:
    """`es`: the gateway's own client if it has one; the caller has written the documents, so it may know what became of them."""

    def __init__(self, es: AsyncElasticsearch, uuids: Mapping[str, str]) -> None:
        """`uuids`: of the attached indices, by their names."""
        self._es = es
        self._uuids = uuids

    async def find(self, attached: Mapping[str, Attachment], documents: Sequence[Written]) -> set[Written]:
        """The documents, among `documents`, whose written version or a later one has a letter."""
        by_letter = {
            letter_id(
                self._uuids[document.index], attached[document.index].active, document.id, document.routing
            ): document
            for document in documents
        }
        if not by_letter:
            return set()
        try:
            response = await self._es.mget(index=DEAD_LETTERS_INDEX, ids=list(by_letter), source_includes=["seq_no"])
        except ApiError as error:
            if error.meta.status in (403, 404):  # no right to read letters, or no letter was ever written
                return set()
            raise
        letters = {item["_id"]: item["_source"] for item in response["docs"] if item.get("found")}
        return {
            document
            for letter, document in by_letter.items()
            if letter in letters and letters[letter].get("seq_no", -1) >= document.seq_no
        }
