"""A request has the same id in all logs."""

from structlog.contextvars import bound_contextvars

from query.gateway.request_id import REQUEST_ID, request_id, with_request_id


def test_the_callers_own_is_taken_as_far_as_it_fits_a_log() -> None:
    assert request_id({"headers": [(REQUEST_ID, b"mine")]}) == "mine"
    assert request_id({"headers": [(REQUEST_ID, b"\x1b[31m" + b"a" * 500)]}) == "[31m" + "a" * 195
    first, second = request_id({"headers": []}), request_id({"headers": [(REQUEST_ID, b"")]})
    assert len(first) == len(second) == 16
    assert first != second


def test_it_goes_on_to_elasticsearch_unless_the_caller_gave_one() -> None:
    assert with_request_id([(b"a", b"b")]) == [(b"a", b"b")]
    with bound_contextvars(request_id="new"):
        assert with_request_id([(b"a", b"b")]) == [(b"a", b"b"), (REQUEST_ID, b"new")]
        assert with_request_id([(REQUEST_ID, b"mine")]) == [(REQUEST_ID, b"mine")]
