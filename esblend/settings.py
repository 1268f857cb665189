"""All settings of one process: read once from the environment (`ESBLEND_*`) and `.env`, then passed in."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

DEFAULT_MODEL = "sentence-transformers/multi-qa-distilbert-cos-v1"


class Settings(BaseSettings):
    """Where the servers are, and the limits of the three processes. Every field is `ESBLEND_<NAME>` in the environment."""

    model_config = SettingsConfigDict(
        env_prefix="ESBLEND_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    es_url: str = Field(default="http://localhost:9200", description="Elasticsearch, without credentials.")
    es_username: str | None = None
    es_password: SecretStr | None = None
    es_api_key: SecretStr | None = Field(default=None, description="Encoded API key; wins over username and password.")
    es_ca_certs: Path | None = Field(default=None, description="CA bundle for an https es_url.")
    es_timeout_seconds: float = Field(default=60, gt=0)

    redis_url: str = "redis://localhost:6379/0"

    model: str = Field(default=DEFAULT_MODEL, description="A sentence-transformers folder or hub name.")
    encoder_threads: int | None = Field(
        default=None, ge=1, description="Default: what the machine or container allows."
    )
    encoder_token_budget: int = Field(default=2048, ge=512, description="Word pieces in one forward pass.")
    encoder_backend: Literal["auto", "torch", "openvino"] = "auto"
    precision: Literal["exact", "fast"] = Field(default="exact", description="fast: int8 on CPUs, bf16 on GPUs.")

    encoder_url: str | None = Field(default=None, description="The service behind models named openai:... and tei:...")
    encoder_api_key: SecretStr | None = None
    encoder_timeout_seconds: float = Field(default=30, gt=0)
    encoder_retries: int = Field(default=5, ge=0)
    encoder_batch_texts: int = Field(default=32, ge=1, description="Texts in one request to the service.")
    encoder_requests_per_second: float | None = Field(default=None, gt=0)
    encoder_max_tokens: int = Field(default=512, ge=16, description="What the service's model reads, in word pieces.")

    embedding_cache: Path | None = Field(
        default=None, description="File for vectors of texts seen before; default: in the user's cache folder."
    )
    embedding_cache_mb: int = Field(default=256, ge=0, description="Size of that file at most; 0: no cache.")

    reranker: str | None = Field(
        default=None, description="A cross-encoder: a sequence-classification folder or hub name."
    )
    reranker_budget_seconds: float = Field(default=2.0, gt=0, description="After this the first-stage order stands.")
    query_encoder_budget_seconds: float = Field(
        default=5.0, gt=0, description="After this a search goes on without its semantic leg."
    )

    exact_knn_documents: int = Field(
        default=1000,
        ge=0,
        description="So many documents are compared one by one; with more, the approximate index is asked.",
    )

    gateway_url: str | None = Field(default=None, description="The gateway that the command line talks to.")
    gateway_host: str = "127.0.0.1"
    gateway_port: int = Field(default=9280, ge=1, le=65535)
    gateway_connections: int = Field(default=256, ge=1, description="Connections to Elasticsearch at most.")
    gateway_max_search_body: int = Field(
        default=8 * 2**20, ge=1024, description="Bytes of a search body that is parsed."
    )

    feed_poll_seconds: float = Field(default=0.5, gt=0)
    feed_discovery_seconds: float = Field(
        default=1.0, gt=0, description="How often newly attached indices are looked for."
    )
    feed_batch_documents: int = Field(default=1000, ge=1, le=1000, description="Documents in one task at most.")
    feed_max_tasks_in_flight: int = Field(default=16, ge=1, description="Unfinished tasks per index and lane.")
    feed_task_timeout_seconds: float = Field(default=900, gt=0, description="A task without a result is sent again.")

    metrics_port: int | None = Field(default=None, ge=1, le=65535, description="Of feed and workers, for Prometheus.")
    metrics_host: str = "127.0.0.1"

    log_format: Literal["json", "console"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    ready_file: Path | None = Field(default=None, description="Written when the process is ready for work.")

    @model_validator(mode="after")
    def _no_credentials_in_url(self) -> "Settings":
        if "@" in self.es_url:
            raise ValueError(
                "put the credentials into ESBLEND_ES_USERNAME and ESBLEND_ES_PASSWORD, not into ESBLEND_ES_URL"
            )
        return self

    @property
    def has_credentials(self) -> bool:
        return self.es_api_key is not None or self.es_username is not None
