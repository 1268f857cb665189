"""With security on, a caller has only its own privileges."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from elasticsearch import ApiError, Elasticsearch

from esblend.broker import EMBED_TASK, make_celery, queue_name
from esblend.settings import Settings
from indexer.care.credentials_command import least_privileges
from mappings.dead_letter_index import DEAD_LETTERS_INDEX, DEAD_LETTERS_MAPPINGS, DEAD_LETTERS_SETTINGS
from tests.conftest import Stack, run_esblend
from tests.real.faults import kill, process, revive, wait_for
from tests.real.gateways import gateway_with

HYBRID = {"hybrid": {"query": "a secret"}}


@pytest.fixture(scope="module")
def secured(secured_stack: Stack) -> Iterator[Stack]:
    """A stack with security on; two attached indices, and a user for each kind of right."""
    own = secured_stack
    for index in ("open-docs", "secret-docs"):
        own.es.index(index=index, id="1", document={"body": f"a secret of {index}"}, refresh=True)
        own.attach(index, "body")
        own.wait(index)
    for role, privileges in {"reader": ["read"], "manager": ["manage", "read"]}.items():
        indices = [{"names": ["open-docs"], "privileges": privileges}]
        own.es.security.put_role(name=role, indices=indices)
        own.es.security.put_user(username=role, password="password-of-" + role, roles=[role])
    own.es.security.put_role(name="blind", indices=[{"names": ["open-docs"], "privileges": ["index"]}])
    own.es.security.put_user(username="blind", password="password-of-blind", roles=["blind"])
    own.es.indices.create(index=DEAD_LETTERS_INDEX, settings=DEAD_LETTERS_SETTINGS, mappings=DEAD_LETTERS_MAPPINGS)
    for index in ("open-docs", "secret-docs"):
        letter = {
            "index": index,
            "uuid": "u",
            "generation": "g",
            "id": f"of {index}",
            "error": "e",
            "time": 0,
            "attempts": 1,
        }
        own.es.index(index=DEAD_LETTERS_INDEX, id=index, document=letter, refresh=True)
    yield own
    own.es.indices.delete(index=["open-docs", "secret-docs", DEAD_LETTERS_INDEX], ignore_unavailable=True)


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


def test_a_retriever_of_words_needs_no_right_but_read(secured: Stack, tmp_path: Path) -> None:
    legs = [{"standard": {"query": {"match": {"body": text}}}} for text in ("secret", "docs")]
    reader = {"client_options": {"basic_auth": ("reader", "password-of-reader")}}
    with gateway_with(secured, tmp_path, **reader) as client:
        response = client.search(index="open-docs", retriever={"rrf": {"retrievers": legs, "rank_window_size": 20}})
    assert [hit["_id"] for hit in response["hits"]["hits"]] == ["1"]


def test_a_wildcard_is_what_the_caller_may_read(secured: Stack) -> None:
    with as_user(secured, "reader") as client:
        for name in ("*", "_all", "*-docs"):
            answer = client.search(index=name, query=HYBRID)
            assert {hit["_index"] for hit in answer["hits"]["hits"]} == {"open-docs"}
        with pytest.raises(ApiError) as caught:
            client.search(index="no-such-index", query=HYBRID)
        assert status_of(caught) == 403
        assert "secret-docs" not in str(caught.value.body)
    with as_user(secured, "blind") as client, pytest.raises(ApiError) as caught:
        client.search(index="open-docs", query=HYBRID)
    assert status_of(caught) == 403


def test_each_search_of_many_has_the_callers_rights(secured: Stack) -> None:
    knn = {"field": "esblend", "query_vector_builder": {"text_embedding": {"model_text": "a secret"}}, "k": 5}
    legs = [{"standard": {"query": {"match_all": {}}}}, {"knn": {**knn, "num_candidates": 10}}]
    bodies = [
        {"query": HYBRID},
        {"query": {"match_all": {}}},
        {"retriever": {"rrf": {"retrievers": legs}}},
        {"knn": knn},
    ]
    with as_user(secured, "reader") as client:
        searches = [
            line for index in ("open-docs", "secret-docs") for body in bodies for line in ({"index": index}, body)
        ]
        answers = client.msearch(searches=searches)["responses"]
    assert [response["status"] for response in answers] == [200] * 4 + [403] * 4


def test_a_cursor_gives_no_right(secured: Stack) -> None:
    pit = {"id": secured.es.open_point_in_time(index="secret-docs", keep_alive="1m")["id"]}
    page = {"pit": pit, "query": HYBRID, "size": 1, "sort": [{"_score": "desc"}]}
    cursor = secured.gateway.search(**page)["hits"]["hits"][0]["sort"]
    with as_user(secured, "reader") as reader:
        for search in (page, {**page, "search_after": cursor}, {"pit": pit, "query": {"match_all": {}}}):
            with pytest.raises(ApiError) as caught:
                reader.search(**search)
            assert status_of(caught) == 403
            assert "a secret of" not in str(caught.value.body)
        with pytest.raises(ApiError):
            reader.search(index="secret-docs", query=HYBRID, size=1, sort=[{"_score": "desc"}], search_after=cursor)
    assert secured.gateway.search(**page, search_after=cursor)["hits"]["hits"] == []
    secured.es.close_point_in_time(**pit)


def test_dead_letters_are_those_of_the_callers_indices(secured: Stack) -> None:
    headers = {"accept": "application/json"}
    with as_user(secured, "reader") as client:
        everything = client.perform_request("GET", "/_esblend/dead-letters", headers=headers).body
        assert [letter["id"] for letter in everything["dead_letters"]] == ["of open-docs"]
        for method, path in (
            ("GET", "/_esblend/dead-letters?index=secret-docs"), ("POST", "/_esblend/dead-letters/_retry?index=secret-docs"),
            ("POST", "/_esblend/dead-letters/_drop?index=open-docs"), ("GET", "/_esblend/indices/secret-docs/status"),
            ("GET", "/_esblend/dead-letters?index=no-such-index"),
        ):  # fmt: skip
            with pytest.raises(ApiError) as caught:
                client.perform_request(method, path, headers=headers)
            assert status_of(caught) == 403
        asked = client.perform_request("POST", "/_esblend/dead-letters/_retry?all", headers=headers).body
        assert asked["dead_letters"] == 0
        status = client.perform_request("GET", "/_esblend/indices/open-docs/status", headers=headers).body
        assert status["embedded"] == 1


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


def test_a_backfill_is_paused_by_its_manager_alone(secured: Stack) -> None:
    headers = {"accept": "application/json", "content-type": "application/json"}
    for name, expected in (("reader", 403), ("manager", 200)):
        with as_user(secured, name).options(ignore_status=403) as client:
            for paused in (True, False):
                body = {"paused": paused}
                answer = client.perform_request(
                    "POST", "/_esblend/indices/open-docs/backfill", headers=headers, body=body
                )
                assert answer.meta.status == expected


def test_clicks_are_those_of_callers_who_may_search_the_document(secured: Stack) -> None:
    interleave = {"experiment": "rights", "a": {"alpha": 0}, "b": {"alpha": 1}}
    query = {"hybrid": {"query": "a secret", "interleave": interleave}}
    shown = secured.gateway.search(index="secret-docs", query=query)["esblend"]["interleave"]
    click = {"experiment": shown["experiment"], "search": shown["search"], **shown["sides"][0]}
    path, headers = "/_esblend/clicks", {"accept": "application/json", "content-type": "application/json"}
    with as_user(secured, "reader") as client:
        for index, expected in (("secret-docs", 403), ("*-docs", 400), ("no-such-index", 403)):
            with pytest.raises(ApiError) as caught:
                client.perform_request("POST", path, headers=headers, body={**click, "_index": index})
            assert status_of(caught) == expected, index
        interleaved = client.search(index="open-docs", query=query)["esblend"]["interleave"]
        own = {"experiment": interleaved["experiment"], "search": interleaved["search"], **interleaved["sides"][0]}
        assert client.perform_request("POST", path, headers=headers, body=own).meta.status == 201
        [tally] = client.perform_request("GET", f"{path}?index=*", headers=headers).body["experiments"]
        assert tally["clicks"] == 1
        for method, index in (("GET", "secret-docs"), ("DELETE", "open-docs")):
            with pytest.raises(ApiError) as caught:
                client.perform_request(method, f"{path}?index={index}", headers=headers)
            assert status_of(caught) == 403
    with as_user(secured, "manager") as client:
        assert client.perform_request("DELETE", f"{path}?index=open-docs", headers=headers).body["deleted"] == 1
    with as_user(secured, "blind") as client, pytest.raises(ApiError) as caught:
        client.perform_request("GET", f"{path}?index=open-docs", headers=headers)
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


def test_feed_and_worker_do_with_the_least_privileges(secured: Stack, tmp_path: Path) -> None:
    made = run_esblend(
        "setup-credentials", "--indices", "least-*", "--user", secured.described["username"], "--json",
        env={"ESBLEND_ES_URL": secured.described["elasticsearch"], "ELASTIC_PASSWORD": secured.described["password"]},
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    key = json.loads(made.stdout)["encoded"]
    credentials = {"ESBLEND_ES_API_KEY": key, "ESBLEND_ES_USERNAME": "", "ESBLEND_ES_PASSWORD": ""}
    kill(secured, "feed", "worker")
    try:
        with (
            process(secured, "esblend", "worker", place=tmp_path, **credentials),
            process(secured, "esblend", "feed", place=tmp_path, **credentials),
        ):
            mapping = {"properties": {"body": {"type": "text"}}}
            secured.es.indices.create(index="least-1", mappings=mapping, settings={"number_of_replicas": 0})
            secured.attach("least-1", "body", guard=True)
            secured.es.indices.put_settings(index="least-1", settings={"index.mapping.nested_objects.limit": 1})
            secured.es.index(index="least-1", id="good", document={"body": "a text"}, routing="r")
            secured.es.index(index="least-1", id="bad", document={"body": "word " * 1000})
            status = secured.wait("least-1")
            assert (status["embedded"], status["dead_letters"]) == (1, 1)
            secured.es.index(index="least-1", id="bad", document={"body": "a good text"})
            secured.wait("least-1")
            assert not secured.call("GET", "/_esblend/dead-letters", index="least-1")["dead_letters"]
            secured.es.ingest.put_pipeline(id="esblend-guard-least-1", processors=[])
            report = "another client has changed its ingest pipeline"
            wait_for("the report", lambda: any(report in log.read_text() for log in tmp_path.glob("ready-*.log")))
    finally:
        revive(secured)
    with Elasticsearch(secured.described["elasticsearch"], api_key=key) as client:
        refused: list[Callable[[], object]] = [
            lambda: client.search(index="secret-docs"),
            lambda: client.get(index="secret-docs", id="1"),
            lambda: client.index(index="secret-docs", document={}),
            lambda: client.indices.delete(index="least-1"),
            lambda: client.indices.create(index="another"),
            lambda: client.indices.put_mapping(index="secret-docs", meta={}),
            lambda: client.cluster.put_settings(persistent={"action.auto_create_index": "true"}),
            lambda: client.security.get_user(),
            lambda: client.ingest.put_pipeline(id="p", processors=[]),
            lambda: client.security.create_api_key(name="more"),
        ]
        for attempt in refused:
            with pytest.raises(ApiError) as caught:
                attempt()
            assert status_of(caught) == 403
        assert client.search(index="least-1")["hits"]["total"]["value"] == 2
    secured.es.indices.delete(index="least-1")


CANARY = "chrysanthemum"


def test_no_log_holds_a_text_or_credentials(secured: Stack) -> None:
    """On level debug, after all that a text or a password could leave a trace by; each line is a JSON object."""
    secured.es.indices.create(
        index="logged",
        mappings={"properties": {"body": {"type": "text"}, "n": {"type": "long"}}},
        settings={"number_of_replicas": 0},
    )
    secured.attach("logged", "body")
    secured.es.indices.put_settings(index="logged", settings={"index.mapping.nested_objects.limit": 2})
    key = secured.es.security.create_api_key(name="logged")["encoded"]
    quiet = {"max_retries": 0, "ignore_status": [400, 401, 404, 408]}
    with Elasticsearch(secured.described["gateway"], api_key=key).options(**quiet) as client:
        client.index(index="logged", id="good", document={"body": f"the {CANARY}"})
        client.index(index="logged", id="long", document={"body": f"the {CANARY} and so on. " * 400})
        client.index(index="logged", id="wrong", document={"body": CANARY, "n": CANARY})
        client.bulk(operations=[{"index": {"_index": "logged", "_id": "more"}}, {"body": CANARY, "n": CANARY}])
        assert secured.wait("logged")["dead_letters"] == 1
        for query in (
            {"hybrid": {"query": CANARY}}, {"semantic": {"query": CANARY}}, {"hybrid": {"query": CANARY, "fields": [CANARY]}},
            {"hybrid": {CANARY: CANARY}}, {"match": {"n": CANARY}},
            {"hybrid": {"query": CANARY, "filter": {"term": {"n": CANARY}}}},
        ):  # fmt: skip
            client.search(index="logged", query=query, explain=True)
        client.search(index="logged", q=f"body:{CANARY}")
        headers = {"content-type": "application/json", "accept": "application/json"}
        client.perform_request("PUT", "/_esblend/indices/logged", headers=headers, body={CANARY: CANARY})
    app = make_celery(Settings(redis_url=secured.described["redis"]))
    sent = app.send_task(EMBED_TASK, kwargs={"index": "logged", "text": CANARY}, queue=queue_name("live"))
    with pytest.raises(Exception, match="not a task"):
        sent.get(timeout=60)
    app.close()
    with Elasticsearch(secured.described["gateway"], basic_auth=("reader", f"wrong-{CANARY}")) as client:
        client.options(**quiet).search(index="logged", query={"hybrid": {"query": CANARY}})
    secrets = [CANARY, secured.described["password"], "password-of-reader", key]
    for name in ("feed", "worker", "gateway"):
        [log] = (secured.data_dir / "logs").glob(f"{name}-*.log")
        text = log.read_text()
        telling = [line[:1000] for line in text.splitlines() if any(secret in line for secret in secrets)]
        assert not telling, f"in the log of the {name}"
        lines = [json.loads(line) for line in text.splitlines() if line.strip()]
        assert len(lines) > 2
        assert all({"event", "level", "timestamp"} <= line.keys() for line in lines)
    secured.es.indices.delete(index="logged")


def test_the_guard_in_bulk_needs_no_more_than_the_right_to_write(secured: Stack) -> None:
    secured.es.index(index="guarded-docs", id="1", document={"body": "an old text"}, refresh=True)
    secured.attach("guarded-docs", "body", guard=True)
    secured.wait("guarded-docs")
    secured.es.security.put_role(name="writer", indices=[{"names": ["guarded-docs"], "privileges": ["index"]}])
    secured.es.security.put_user(username="writer", password="password-of-writer", roles=["writer"])
    with as_user(secured, "writer") as client:
        while True:
            written = client.bulk(
                index="guarded-docs", operations=[{"update": {"_id": "1"}}, {"doc": {"body": "a new text"}}]
            )
            [result] = written["items"]
            assert result["update"]["status"] == 200
            document = secured.es.get(index="guarded-docs", id="1")
            if document["_seq_no"] == result["update"]["_seq_no"]:
                break
            secured.wait("guarded-docs")
            secured.es.index(index="guarded-docs", id="1", document={"body": "an old text"}, refresh=True)
            secured.wait("guarded-docs")
    assert "esblend" not in document["_source"]
    operations = [{"update": {"_id": "1"}}, {"doc": {"body": "not allowed"}}]
    errors = []
    for url in (secured.described["gateway"], secured.described["elasticsearch"]):
        with (
            Elasticsearch(url, basic_auth=("reader", "password-of-reader")) as client,
            pytest.raises(ApiError) as caught,
        ):
            client.bulk(index="guarded-docs", operations=operations)
        assert status_of(caught) == 403
        errors.append(caught.value.body)
    assert errors[0] == errors[1]


def test_a_write_that_waits_is_answered_though_its_caller_may_not_read(secured: Stack) -> None:
    secured.es.indices.create(index="written-docs", mappings={"properties": {"body": {"type": "text"}}})
    secured.attach("written-docs", "body")
    secured.es.security.put_role(name="only-writer", indices=[{"names": ["written-docs"], "privileges": ["index"]}])
    secured.es.security.put_user(username="only-writer", password="password-of-only-writer", roles=["only-writer"])
    headers = {"accept": "application/json", "content-type": "application/json"}
    with as_user(secured, "only-writer") as client:
        path, params = "/written-docs/_doc/1", {"wait_for": "embedded", "refresh": "true"}
        answer = client.perform_request("PUT", path, params=params, headers=headers, body={"body": "a text"})
    assert (answer.meta.status, answer.body["result"]) == (201, "created")
    assert "the write has happened, but its vectors cannot be observed" in answer.body["esblend"]["error"]
    secured.es.indices.delete(index="written-docs")


def test_the_doctor_knows_a_key_of_an_earlier_version(secured: Stack) -> None:
    role = least_privileges(["open-docs"], attaches=False)
    first = role["esblend"]["indices"][0]
    first["names"] = [name for name in first["names"] if name != "esblend-mean-vectors"]
    key = secured.es.security.create_api_key(name="earlier", role_descriptors=role)["encoded"]
    environment = {
        "ESBLEND_ES_URL": secured.described["elasticsearch"], "ESBLEND_REDIS_URL": secured.described["redis"],
        "ESBLEND_ES_API_KEY": key, "ESBLEND_MODEL": "minilm",
    }  # fmt: skip
    checks = json.loads(run_esblend("doctor", "--json", env=environment).stdout)
    [check] = [check for check in checks if "esblend-mean-vectors" in check["detail"]]
    assert "setup-credentials" in check["advice"]
