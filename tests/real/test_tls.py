"""TLS to Elasticsearch with a CA or its fingerprint, and at the gateway."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from elastic_transport import TlsError
from elasticsearch import ApiError

from esblend.elasticsearch_connection import connect, connect_async
from esblend.settings import Settings
from tests.conftest import Stack
from tests.real.gateways import gateway_with
from tests.real.tls import Certificates, make_certificates, tls_in_front


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secure_es(stack: Stack, certificates: Certificates) -> Iterator[str]:
    """The stack's Elasticsearch by https."""
    with tls_in_front(urlsplit(stack.described["elasticsearch"]).port or 0, certificates) as port:
        yield f"https://localhost:{port}"


def trusting(certificates: Certificates) -> list[dict[str, str]]:
    fingerprint = certificates.fingerprint()
    return [
        {"es_ca_certs": str(certificates.authority)},
        {"es_ca_fingerprint": fingerprint},
        {"es_ca_fingerprint": fingerprint.replace(":", "").lower()},
    ]


async def test_clients_trust_what_they_are_told_to(secure_es: str, certificates: Certificates) -> None:
    for trust in trusting(certificates):
        settings = Settings(es_url=secure_es, **trust)
        with connect(settings) as es:
            assert es.info()["version"]
        async with connect_async(settings) as es:
            assert (await es.info())["version"]


async def test_clients_trust_nothing_else(secure_es: str, certificates: Certificates, tmp_path: Path) -> None:
    other = make_certificates(tmp_path)
    for trust in ({}, {"es_ca_certs": str(other.authority)}, {"es_ca_fingerprint": other.fingerprint()}):
        settings = Settings(es_url=secure_es, **trust)
        with connect(settings) as es, pytest.raises((TlsError, ssl.SSLCertVerificationError)):
            es.options(max_retries=0).info()
        async with connect_async(settings) as es:
            with pytest.raises((TlsError, ssl.SSLCertVerificationError)):
                await es.options(max_retries=0).info()


@pytest.fixture
def misnamed(stack: Stack, tmp_path: Path) -> Iterator[tuple[str, Certificates]]:
    """Elasticsearch by https with a certificate of another name, whose authority is known."""
    certificates = make_certificates(tmp_path, "DNS:elsewhere")
    with tls_in_front(urlsplit(stack.described["elasticsearch"]).port or 0, certificates) as port:
        yield f"https://localhost:{port}", certificates


async def test_clients_look_at_the_name(misnamed: tuple[str, Certificates]) -> None:
    url, certificates = misnamed
    for trust in trusting(certificates):
        settings = Settings(es_url=url, **trust)
        with connect(settings) as es, pytest.raises(TlsError):
            es.options(max_retries=0).info()
        async with connect_async(settings) as es:
            with pytest.raises(TlsError):
                await es.options(max_retries=0).info()


@pytest.mark.parametrize("number", range(2))
def test_the_gateway_goes_on_by_tls(
    stack: Stack, secure_es: str, certificates: Certificates, tmp_path: Path, number: int
) -> None:
    with gateway_with(stack, tmp_path, es_url=secure_es, **trusting(certificates)[number]) as client:
        assert client.info()["version"]
        client.index(index="test-tls", id="1", document={"body": "by tls"}, refresh=True)
        stack.attach("test-tls", "body")
        assert client.search(index="test-tls", query={"hybrid": {"query": "tls"}})["hits"]["hits"]
    stack.es.indices.delete(index="test-tls")


def test_the_gateway_does_not_go_on_to_a_stranger(
    stack: Stack, secure_es: str, certificates: Certificates, tmp_path: Path
) -> None:
    other = make_certificates(tmp_path / "other")
    with gateway_with(stack, tmp_path, es_url=secure_es, es_ca_fingerprint=other.fingerprint()) as client:
        with pytest.raises(ApiError) as caught:
            client.options(max_retries=0).info()
        assert caught.value.status_code == 503


def test_the_gateway_speaks_https(stack: Stack, certificates: Certificates, tmp_path: Path) -> None:
    pair = {"gateway_tls_certificate": str(certificates.chain), "gateway_tls_key": str(certificates.key)}
    options = {"ca_certs": str(certificates.authority)}
    with gateway_with(stack, tmp_path, client_options=options, **pair) as client:
        assert client.info()["version"]
        assert client.search(query={"match_all": {}})["hits"]
