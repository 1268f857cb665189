"""All settings of one process: read once, then passed in.

The environment (`ESBLEND_*`, or `ESBLEND_*_FILE` with the name of a file that holds the value) wins over `.env`, and that over
`esblend.yaml` (or the file that `ESBLEND_CONFIG` names). Unknown settings are rejected: they are mostly typing mistakes.
"""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

DEFAULT_MODEL = "sentence-transformers/multi-qa-distilbert-cos-v1"


_PREFIX = "ESBLEND_"
_ELSEWHERE = frozenset(("config", "data_dir", "cache_dir", "hypothesis_profile"))
"""Variables with our prefix that are not settings of a process."""
# Kubernetes sets variables for its services: ESBLEND_GATEWAY_SERVICE_HOST, ESBLEND_PORT_9280_TCP_ADDR, ...
_FOREIGN = re.compile(r"test_.*|(.*_)?service_(host|port(_.*)?)|(.*_)?port(_\d+_(tcp|udp)(_.*)?)?")


class _Files(PydanticBaseSettingsSource):
    """`ESBLEND_ES_PASSWORD_FILE=/run/secrets/es`: the value is in a file, as for container secrets."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        named = os.environ.get(f"{_PREFIX}{field_name.upper()}_FILE")
        # `ready_file` is a setting, not a file that holds `ready`.
        value = Path(named).read_text("utf-8").strip() if named else None
        return value, field_name, False

    def __call__(self) -> dict[str, Any]:
        values = {}
        for name, field in self.settings_cls.model_fields.items():
            try:
                value, _, _ = self.get_field_value(field, name)
            except OSError as error:
                raise _error((f"{name}_file",), f"the file cannot be read: {error.strerror}") from error
            if value is not None:
                values[name] = value
        return values


class _Yaml(PydanticBaseSettingsSource):
    """A YAML file: the settings' names in lower case, without prefix."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        named = os.environ.get(f"{_PREFIX}CONFIG")
        file = Path(named or "esblend.yaml")
        if not named and not file.is_file():
            return {}
        try:
            values = yaml.safe_load(file.read_text("utf-8")) or {}
        except (OSError, yaml.YAMLError) as error:
            raise _error(("config",), f"[{file}] cannot be read: {error}") from error
        if not isinstance(values, dict):
            raise _error(("config",), f"[{file}] must contain a mapping of settings")
        _refuse_unknown(values, f" in {file}")
        return values


class Settings(BaseSettings):
    """Addresses of the servers and limits of the processes. Each field is `ESBLEND_<NAME>` in the environment."""

    model_config = SettingsConfigDict(
        env_prefix="ESBLEND_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        names = [name[len(_PREFIX) :].lower() for name in os.environ if name.startswith(_PREFIX)]
        in_files = {name for name in names if name.endswith("_file") and name.removesuffix("_file") in cls.model_fields}
        _refuse_unknown(dict.fromkeys(set(names) - in_files), " in the environment")
        if isinstance(dotenv_settings, DotEnvSettingsSource):
            given = [name for name in dotenv_settings.env_vars if name.upper().startswith(_PREFIX)]
            _refuse_unknown(dict.fromkeys(name[len(_PREFIX) :].lower() for name in given), " in .env")
        return init_settings, env_settings, _Files(settings_cls), dotenv_settings, _Yaml(settings_cls)

    @classmethod
    def origins(cls) -> dict[str, str]:
        """The source of each setting that has a value."""
        values: dict[str, str] = {}
        for name, source in (
            ("environment", EnvSettingsSource(cls)), ("file", _Files(cls)), (".env", DotEnvSettingsSource(cls)),
            ("YAML", _Yaml(cls)),
        ):  # fmt: skip
            for key in source():
                values.setdefault(key, name)
        return values

    es_url: str = Field(default="http://localhost:9200", description="Elasticsearch, without credentials.")
    es_username: str | None = None
    es_password: SecretStr | None = None
    es_api_key: SecretStr | None = Field(
        default=None, description="Encoded API key; takes precedence over username and password."
    )
    es_ca_certs: Path | None = Field(default=None, description="CA bundle for an https es_url.")
    es_ca_fingerprint: str | None = Field(
        default=None,
        description="SHA-256 of the certificate that signed Elasticsearch's, in hex; an alternative to a CA bundle.",
    )
    es_timeout_seconds: float = Field(default=60, gt=0)

    redis_url: str = Field(
        default="redis://localhost:6379/0",
        repr=False,
        description="redis://, rediss:// (TLS), or sentinel://host:port;sentinel://...",
    )
    redis_ca_certs: Path | None = Field(default=None, description="CA bundle for a rediss:// redis_url.")
    redis_sentinel_master: str | None = Field(
        default=None, description="The master's name, with sentinel:// addresses."
    )
    broker_url: SecretStr | None = Field(
        default=None, description="amqp:// or amqps:// puts the queue into RabbitMQ; results stay in Redis."
    )
    broker_ca_certs: Path | None = Field(default=None, description="CA bundle for an amqps:// broker_url.")

    model: str = Field(default=DEFAULT_MODEL, description="A sentence-transformers folder or hub name.")
    encoder_threads: int | None = Field(
        default=None, ge=1, description="Default: all CPUs of the machine or container."
    )
    encoder_token_budget: int | None = Field(
        default=None, ge=512, description="Word pieces per forward pass. Default: 2048, on a GPU 65536."
    )
    encoder_backend: Literal["auto", "torch", "openvino"] = "auto"
    precision: Literal["exact", "fast"] = Field(
        default="exact", description="fast: int8 on CPUs, bf16 on GPUs; the status names what int8 costs."
    )

    encoder_url: str | None = Field(default=None, description="The service for models named openai:... and tei:...")
    encoder_api_key: SecretStr | None = None
    encoder_timeout_seconds: float = Field(default=30, gt=0)
    encoder_retries: int = Field(default=5, ge=0)
    encoder_batch_texts: int = Field(default=32, ge=1, description="Texts per request to the service.")
    encoder_requests_per_second: float | None = Field(default=None, gt=0)
    encoder_max_tokens: int = Field(
        default=512, ge=16, description="Maximum input of the service's model in word pieces."
    )

    embedding_cache: Path | None = Field(
        default=None, description="File of the embedding cache; default: in the user's cache folder."
    )
    embedding_cache_mb: int = Field(default=256, ge=0, description="Maximum size of that file; 0 disables the cache.")

    reranker: str | None = Field(
        default=None, description="A cross-encoder: a sequence-classification folder or hub name."
    )
    reranker_budget_seconds: float = Field(
        default=2.0, gt=0, description="Time limit of reranking; afterwards a search keeps the first-stage order."
    )
    query_encoder_budget_seconds: float = Field(
        default=5.0, gt=0, description="Time limit of encoding; afterwards a search continues without its semantic leg."
    )
    search_queue_seconds: float = Field(
        default=2.5, gt=0, description="A fused search that would wait longer for others gets 429."
    )
    expensive_searches: int | None = Field(
        default=None, ge=1,
        description="Fused searches with long texts, large windows or many aggregations at once. Default: half of the processors.",
    )  # fmt: skip

    exact_knn_documents: int = Field(
        default=1000,
        ge=0,
        description="Up to this number of documents, kNN compares every vector; above it, it uses the approximate index.",
    )

    retrievers: Literal["always", "attached", "never"] = Field(
        default="always",
        description="Which searches by rrf, linear, pinned or text_similarity_reranker esblend executes: all, those on attached "
        "indices, or none. Elasticsearch executes the others, if its licence allows.",
    )

    gateway_url: str | None = Field(default=None, description="The gateway that the command line talks to.")
    gateway_host: str = "127.0.0.1"
    gateway_port: int = Field(default=9280, ge=1, le=65535)
    gateway_allowed_hosts: str = Field(
        default="localhost",
        description="Comma-separated host names in requests' Host headers. IP addresses always pass; * allows any.",
    )
    gateway_cors_origins: str = Field(
        default="",
        description="Comma-separated origins, as https://app.example.com, whose pages may call the gateway (CORS).",
    )
    gateway_tls_certificate: Path | None = Field(
        default=None, description="PEM file; with the key, the gateway uses https."
    )
    gateway_tls_key: Path | None = None
    gateway_max_requests: int = Field(
        default=1000, ge=1, description="Concurrent requests; more are answered with 429."
    )
    gateway_max_connections: int = Field(
        default=4096, ge=1, description="Connections of callers; more are answered with 503."
    )
    gateway_silence_seconds: float = Field(
        default=60, gt=0, description="A caller that neither sends nor reads for this time is disconnected."
    )
    gateway_answer_seconds: float = Field(
        default=3600, gt=0, description="Longest pause of Elasticsearch before and within a response."
    )
    click_log_size: int = Field(
        default=1_000_000, ge=1, description="Clicks in the log of clicks; above it, the gateway answers 429."
    )
    clicks_per_second: int = Field(
        default=100, ge=1, description="Clicks that a gateway accepts from one caller in a second."
    )
    gateway_connections: int = Field(
        default=256,
        ge=1,
        description="Maximum connections to Elasticsearch for searches, and as many for other requests.",
    )
    gateway_max_search_body: int = Field(
        default=8 * 2**20, ge=1024, description="Maximum bytes of a search body that esblend parses."
    )

    feed_poll_seconds: float = Field(default=0.5, gt=0)
    feed_discovery_seconds: float = Field(
        default=1.0, gt=0, description="Interval between checks for newly attached indices."
    )
    feed_batch_documents: int = Field(default=4000, ge=1, le=4000, description="Maximum documents in one task.")
    feed_max_tasks_in_flight: int | None = Field(
        default=None,
        ge=1,
        description="Unfinished tasks per index and lane; twice the number of living workers by default.",
    )
    feed_task_timeout_seconds: float = Field(
        default=900, gt=0, description="A task that a worker does not finish within this time is sent again."
    )
    feed_quiet_seconds: float = Field(
        default=0,
        ge=0,
        description="Seconds before a changed document is embedded, so that its writer sees no version conflict.",
    )

    task_events: bool = Field(default=False, description="Workers publish task events in Redis, for Flower.")
    metrics_port: int | None = Field(
        default=None, ge=1, le=65535, description="Metrics port of feed and workers, for Prometheus."
    )
    metrics_host: str = "127.0.0.1"

    tracing: bool = Field(
        default=False, description="OpenTelemetry traces; OTEL_EXPORTER_OTLP_ENDPOINT sets their destination."
    )

    log_format: Literal["json", "console"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    ready_file: Path | None = Field(default=None, description="The process writes this file when it is ready.")

    @field_validator("es_ca_fingerprint")
    @classmethod
    def _hex_of_sha256(cls, value: str | None) -> str | None:
        plain = value and value.replace(":", "").lower()
        if plain and not re.fullmatch(r"[0-9a-f]{64}", plain):
            raise ValueError("must be a SHA-256 fingerprint: 64 hex digits, colons allowed")
        return plain

    @model_validator(mode="after")
    def _trust_in_one_way(self) -> "Settings":
        if self.es_ca_fingerprint and self.es_ca_certs:
            raise ValueError("set ESBLEND_ES_CA_CERTS or ESBLEND_ES_CA_FINGERPRINT, not both")
        if self.es_ca_fingerprint and not self.es_url.startswith("https://"):
            raise ValueError("ESBLEND_ES_CA_FINGERPRINT is for an https:// address in ESBLEND_ES_URL")
        return self

    @model_validator(mode="after")
    def _no_credentials_in_url(self) -> "Settings":
        if "@" in self.es_url:
            raise ValueError(
                "put the credentials into ESBLEND_ES_USERNAME and ESBLEND_ES_PASSWORD, not into ESBLEND_ES_URL"
            )
        return self

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        return _names(self.gateway_allowed_hosts)

    @property
    def cors_origins(self) -> tuple[str, ...]:
        return _names(self.gateway_cors_origins)

    @property
    def has_credentials(self) -> bool:
        return self.es_api_key is not None or self.es_username is not None


def _names(listed: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in listed.split(",") if name.strip())


def mask_passwords(address: str) -> str:
    """A server's address, or several separated by semicolons, with the passwords replaced by asterisks."""
    address = re.sub(r"://([^:@;/]*):[^;]*@", r"://\1:********@", address)
    return re.sub(r"([?&]password=)[^&;]*", r"\1********", address)


def _refuse_unknown(given: Mapping[str, Any], where: str) -> None:
    """Raises ValidationError on unknown settings."""
    known = Settings.model_fields
    for name in sorted(given):
        if name in known or name in _ELSEWHERE or _FOREIGN.fullmatch(name):
            continue
        similar = get_close_matches(name, known, 1)
        hint = f"; did you mean {similar[0]}?" if similar else ""
        raise _error((name,), f"unknown setting{where}{hint}")


def _error(location: tuple[str, ...], message: str) -> ValidationError:
    detail = InitErrorDetails(
        type=PydanticCustomError("setting", "{message}", {"message": message}), loc=location, input=None
    )
    return ValidationError.from_exception_data("Settings", [detail])
