"""Checks a user's Elasticsearch before the stack starts beside it."""

import socket
from urllib.parse import urlsplit

from elastic_transport import ConnectionError as TransportConnectionError
from elastic_transport import ConnectionTimeout, TlsError
from elasticsearch import ApiError, Elasticsearch, UnsupportedProductError

from esblend.elasticsearch_connection import connect
from esblend.errors import LocalStackError
from esblend.settings import Settings

_SECONDS = 5


def check_elasticsearch(settings: Settings) -> None:
    """Return when `es_url` answers as Elasticsearch with these credentials. Raises LocalStackError that names the fault."""
    url = settings.es_url
    with connect(settings).options(request_timeout=_SECONDS, max_retries=0) as es:
        try:
            es.info()
            if _is_gateway(es):
                raise LocalStackError(f"{url} is an esblend gateway; name the address of Elasticsearch itself")
        except ApiError as error:
            if error.meta.status == 401:
                raise LocalStackError(
                    f"Elasticsearch at {url} rejects the credentials; set ESBLEND_ES_USERNAME and ESBLEND_ES_PASSWORD, "
                    "or ESBLEND_ES_API_KEY"
                ) from error
            if error.meta.status == 403:
                return  # valid credentials without the privilege `monitor`
            raise LocalStackError(f"{url} answers with status {error.meta.status}; is it Elasticsearch?") from error
        except UnsupportedProductError as error:
            raise LocalStackError(f"{url} answers, but it is not Elasticsearch") from error
        except TlsError as error:
            raise LocalStackError(
                f"the TLS connection to {url} failed: {error.message}; check http or https, ESBLEND_ES_CA_CERTS and "
                "ESBLEND_ES_CA_FINGERPRINT"
            ) from error
        except (TransportConnectionError, ConnectionTimeout) as error:
            raise LocalStackError(_silence(url)) from error


def _is_gateway(es: Elasticsearch) -> bool:
    """Feed and workers behind another stack's gateway would read with that gateway's limits, and embed each document twice."""
    return es.transport.perform_request("GET", "/_esblend/health/live", headers={"accept": "*/*"}).meta.status == 200


def _silence(url: str) -> str:
    """The message for an address that gives no HTTP response; it depends on whether a server listens there."""
    parts = urlsplit(url)
    hint = "; if it uses TLS, write https://" if parts.scheme == "http" else ""
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 9200), timeout=_SECONDS):
            return f"{url} is not an HTTP server, or it is too busy to answer{hint}"
    except OSError:
        return f"nothing listens at {url}; is Elasticsearch running there?"
