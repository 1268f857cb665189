"""Models behind an HTTP service: OpenAI-compatible `/v1/embeddings`, and text-embeddings-inference's `/embed`.

The service's address comes from the settings, never from an index. Named `openai:MODEL` and `tei:MODEL`.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson
import structlog
import urllib3
from numpy.typing import NDArray

from esblend.encoder import probe_vector
from esblend.encoder.model import Tokens
from esblend.encoder.service_tokens import ApproximateTokens, ServiceTokens
from esblend.errors import EncodingError, ModelError
from esblend.settings import Settings

log = structlog.get_logger()
_RETRIED = (429, 502, 503, 504)
_REFUSED = (400, 413, 422)
"""Statuses of a rejected text: it is too long or invalid."""
_MAX_RETRY_AFTER_SECONDS = 30.0
_PROBE_AGAIN_SECONDS = 300.0


class HttpModel:
    """A model that a service runs (see `esblend.encoder.model.Model`). Thread-safe."""

    backend = "http"
    query_prompt = ""
    document_prompt = ""
    similarity = "dot_product"
    shorter_dims: tuple[int, ...] = ()

    def __init__(self, name: str, settings: Settings, ask: "Ask", *, revision: str = "") -> None:
        """`revision`: the service's identifier of the model's files, if it has one; another revision is another model."""
        self.name = name
        self.precision = "remote"
        self.digest = hashlib.sha256(json.dumps([name, revision]).encode()).hexdigest()
        self.max_tokens = settings.encoder_max_tokens
        self.tokenizer: Tokens = ApproximateTokens()
        self._ask = ask
        self._batch = settings.encoder_batch_texts
        self._rate = _Rate(settings.encoder_requests_per_second)
        self.probe = probe_vector.probe_of(self._embed([probe_vector.TEXT])[0])
        """Stored in attachments: it shows whether the service still runs the same model."""
        self._probed_at = time.monotonic()

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Raises ModelError when the service is unavailable, returns an invalid response, or runs another model than at first;
        EncodingError when it rejects the texts."""
        if time.monotonic() - self._probed_at > _PROBE_AGAIN_SECONDS:
            self.check_probe()
        return self._embed(texts)

    def check_probe(self) -> None:
        """Raises ModelError when the service runs another model than when this process first asked it."""
        if not probe_vector.is_same_model(self.probe, probe_vector.probe_of(self._embed([probe_vector.TEXT])[0])):
            raise ModelError(
                f"the service behind model [{self.name}] gives other vectors than before: it runs another model now. "
                "Start the former model there, or migrate the attached indices and restart this process"
            )
        self._probed_at = time.monotonic()

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows: list[Any] = []
        for start in range(0, len(texts), self._batch):
            batch = list(texts[start : start + self._batch])
            self._rate.wait()
            response = self._ask(batch)
            if len(response) != len(batch):
                raise ModelError(f"model [{self.name}] gave {len(response)} vectors for {len(batch)} texts")
            rows += response
        try:
            vectors = np.array(rows, dtype=np.float32)
        except (ValueError, TypeError) as error:
            raise ModelError(
                f"model [{self.name}] returned vectors of different widths, or values that are not numbers"
            ) from error
        if vectors.ndim != 2:
            raise ModelError(f"model [{self.name}] returned no list of vectors")
        return vectors


Ask = Callable[[list[str]], list[Any]]


def openai_model(name: str, settings: Settings) -> HttpModel:
    """`openai:NAME`: a model behind OpenAI's `/v1/embeddings`."""
    service = _Service(f"openai:{name}", settings)

    def ask(texts: list[str]) -> list[Any]:
        answer = service.post("/v1/embeddings", {"model": name, "input": texts, "encoding_format": "float"})
        try:
            data = sorted(answer["data"], key=lambda item: item["index"])
            return [item["embedding"] for item in data]
        except (KeyError, TypeError) as error:
            raise ModelError(f"{service.url} does not respond as /v1/embeddings should") from error

    return HttpModel(f"openai:{name}", settings, ask)


def tei_model(name: str, settings: Settings) -> HttpModel:
    """`tei:NAME`: a text-embeddings-inference service. It runs one model, whose name in `/info` must be NAME."""
    service = _Service(f"tei:{name}", settings)
    info = service.get("/info")
    if info.get("model_id") != name:
        raise ModelError(f"{service.url} runs the model [{info.get('model_id')}], not [{name}]")

    def ask(texts: list[str]) -> list[Any]:
        answer = service.post("/embed", {"inputs": texts, "truncate": False})
        if not isinstance(answer, list):
            raise ModelError(f"{service.url} does not respond as /embed should")
        return answer

    model = HttpModel(f"tei:{name}", settings, ask, revision=str(info.get("model_sha") or ""))
    model.max_tokens = min(model.max_tokens, int(info.get("max_input_length") or model.max_tokens))
    model.tokenizer = _tokens(service)
    return model


def _tokens(service: "_Service") -> Tokens:
    """The service's own tokenizer; an estimate where it has no `/tokenize`."""

    def ask(text: str, add_special_tokens: bool) -> list[Any]:
        answer = service.post("/tokenize", {"inputs": [text], "add_special_tokens": add_special_tokens})
        if not (isinstance(answer, list) and len(answer) == 1 and isinstance(answer[0], list)):
            raise ModelError(f"{service.url} answers otherwise than /tokenize does")
        return answer[0]

    try:
        return ServiceTokens(ask)
    except (ModelError, EncodingError) as error:
        log.warning("the service has no tokenizer; word pieces are estimated", url=service.url, reason=error.reason)
        return ApproximateTokens()


class _Retry(urllib3.Retry):
    """Obeys `Retry-After`, but waits no longer than a limit: a task must not wait for an hour because a service says so."""

    def get_retry_after(self, response: urllib3.BaseHTTPResponse) -> float | None:
        wanted = super().get_retry_after(response)
        return None if wanted is None else min(wanted, _MAX_RETRY_AFTER_SECONDS)


class _Service:
    """Sends requests with time-outs and retries, and respects Retry-After up to a limit."""

    def __init__(self, model: str, settings: Settings) -> None:
        if settings.encoder_url is None:
            raise ModelError(f"model [{model}] runs behind a service: set ESBLEND_ENCODER_URL to its address")
        self.url = settings.encoder_url.rstrip("/")
        self._headers = {"content-type": "application/json", "accept": "application/json"}
        if settings.encoder_api_key is not None:
            self._headers["authorization"] = f"Bearer {settings.encoder_api_key.get_secret_value()}"
        retry = _Retry(
            total=settings.encoder_retries, backoff_factor=0.5, backoff_jitter=0.5, status_forcelist=_RETRIED,
            allowed_methods=None, raise_on_status=False, redirect=False,
        )  # fmt: skip
        self._pool = urllib3.PoolManager(
            headers=self._headers, retries=retry, timeout=settings.encoder_timeout_seconds, maxsize=4
        )

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._request("POST", path, orjson.dumps(body, default=str))

    def get(self, path: str) -> dict[str, Any]:
        response = self._request("GET", path, None)
        return response if isinstance(response, dict) else {}

    def _request(self, method: str, path: str, body: bytes | None) -> Any:
        try:
            answer = self._pool.request(method, self.url + path, body=body)
        except urllib3.exceptions.HTTPError as error:
            raise ModelError(f"the encoder service {self.url} cannot be reached: {type(error).__name__}") from error
        if answer.status in _REFUSED:
            raise EncodingError(f"the encoder service rejected a text with status {answer.status}")
        if answer.status != 200:
            raise ModelError(f"the encoder service {self.url} answered with status {answer.status}")
        try:
            return orjson.loads(answer.data)
        except orjson.JSONDecodeError as error:
            raise ModelError(f"the encoder service {self.url} did not answer with JSON") from error


class _Rate:
    """Limits the requests per second and spreads them evenly; None: no limit."""

    def __init__(self, per_second: float | None) -> None:
        self._pause = 1 / per_second if per_second else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        with self._lock:
            now = time.monotonic()
            at = max(now, self._next)
            self._next = at + self._pause
        time.sleep(at - now)
