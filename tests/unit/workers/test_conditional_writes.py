"""Which rejections of a write are the document's fault."""

import pytest

from mappings.source import SourceText
from workers.conditional_writes import Write, Written
from workers.documents import Document

DOCUMENT = Document("1", None, 0, 1, 1, SourceText("text", ""), "f", None, None, 0)


@pytest.mark.parametrize(
    ("status", "is_rejected"), [(400, True), (413, True), (500, False), (503, False), (429, False)]
)
def test_only_the_documents_own_fault_is_a_rejection(status: int, is_rejected: bool) -> None:
    """A 500 is a full disk or a failed engine: a dead letter would blame the document."""
    assert Written(Write(DOCUMENT, {}, {}), status).is_rejected is is_rejected
