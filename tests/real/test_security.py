"""With security on, the caller's rights are the only rights."""

from collections.abc import Iterator

import pytest
from elasticsearch import ApiError, Elasticsearch

from tests.conftest import Stack, start_stack, stop_stack

HYBRID = {"hybrid": {"query": "a secret"}}


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with security on; two attached indices, and a user for each kind of right."""
    own = start_stack(tmp_path_factory.mktemp("secured"), "--security")
    for index in ("open-docs", "secret-docs"):
        own.es.index(index=index, id="1", document={"body": f"a secret of {index}"}, refresh=True)
        own.attach(index, "body")
        own.wait(index)
    for role, privileges in {"reader": ["read"], "manager": ["manage", "read"]}.items():
        indices = [{"names": ["open-docs"], "privileges": privileges}]
        own.es.security.put_role(name=role, indices=indices)
        own.es.security.put_user(username=role, password="password-of-" + role, roles=[role])
    yield own
    stop_stack(own)


def as_user(stack: Stack, name: str) -> Elasticsearch:
    return Elasticsearch(stack.described["gateway"], basic_auth=(name, f"password-of-{name}"))


def status_of(error: pytest.ExceptionInfo[ApiError]) -> int:
    return error.value.meta.status


def test_a_reader_searches_what_it_may_read_and_nothing_else(secured: Stack) -> None:
    with as_user(secured, "reader") as client:
        assert client.search(index="open-docs", query=HYBRID)["hits"]["hits"][0]["_id"] == "1"
        for query in (HYBRID, {"semantic": {"query": "a secret"}}, {"match_all": {}}):
            with pytest.raises(ApiError) as caught:
                client.search(index="secret-docs", query=query)
            assert status_of(caught) == 403


def test_a_reader_cannot_attach_or_detach(secured: Stack) -> None:
    with as_user(secured, "reader") as client:
        for method, body in (("PUT", {"source_fields": ["body"]}), ("DELETE", None)):
            with pytest.raises(ApiError) as caught:
                client.perform_request(
                    method,
                    "/_esblend/indices/open-docs",
                    headers={"accept": "application/json", "content-type": "application/json"},
                    body=body,
                )
            assert status_of(caught) == 403


def test_a_manager_sees_its_index_and_not_the_other(secured: Stack) -> None:
    with as_user(secured, "manager") as client:
        headers = {"accept": "application/json"}
        status = client.perform_request("GET", "/_esblend/indices/open-docs/status", headers=headers).body
        assert status["embedded"] == 1
        with pytest.raises(ApiError) as caught:
            client.perform_request("GET", "/_esblend/indices/secret-docs/status", headers=headers)
        assert status_of(caught) == 403


@pytest.mark.parametrize("auth", [None, ("reader", "wrong"), ("nobody", "password")])
def test_without_valid_credentials_there_is_nothing(secured: Stack, auth: tuple[str, str] | None) -> None:
    with Elasticsearch(secured.described["gateway"], basic_auth=auth) as client:
        for index in ("open-docs", "secret-docs"):
            with pytest.raises(ApiError) as caught:
                client.search(index=index, query=HYBRID)
            assert status_of(caught) == 401
        with pytest.raises(ApiError) as caught:
            client.perform_request("GET", "/_esblend/indices/open-docs", headers={"accept": "application/json"})
        assert status_of(caught) == 401


def test_an_api_key_limited_to_one_index(secured: Stack) -> None:
    role = {"r": {"indices": [{"names": ["open-docs"], "privileges": ["read"]}]}}
    key = secured.es.security.create_api_key(name="limited", role_descriptors=role)["encoded"]
    with Elasticsearch(secured.described["gateway"], api_key=key) as client:
        assert client.search(index="open-docs", query=HYBRID)["hits"]["total"]["value"] == 1
        with pytest.raises(ApiError) as caught:
            client.search(index="secret-docs", query=HYBRID)
        assert status_of(caught) == 403


def test_the_password_shows_in_no_log(secured: Stack) -> None:
    for log in (secured.data_dir / "logs").glob("*.log"):
        assert secured.described["password"] not in log.read_text()
