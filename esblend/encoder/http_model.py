"""Models behind an HTTP service: OpenAI-compatible `/v1/embeddings`, and text-embeddings-inference's `/embed`.

The service is the one that the settings name, never one that an index names. Named `openai:MODEL` and `tei:MODEL`.
"""

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson
import urllib3
from numpy.typing import NDArray

from esblend.errors import EncodingError, ModelError
from esblend.settings import Settings

_RETRIED = (429, 502, 503, 504)
_REFUSED = (400, 413, 422)
"""The text's own fault: too long, not acceptable."""
_PIECE = re.compile(r"\w{1,4}|[^\w\s]")


class ApproximateTokens:
    """Stands for a tokenizer that lies behind the service: a piece is at most four letters or digits, or one other sign.

    English averages a little over four characters a piece, so texts are rather cut short than too long.
    """

    special_tokens = 2

    def spans(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in _PIECE.finditer(text)]

    def count(self, text: str) -> int:
        return sum(1 for _ in _PIECE.finditer(text))


class HttpModel:
    """A model that a service runs (see `esblend.encoder.model.Model`). It may be asked from several threads."""

    backend = "http"
    query_prompt = ""
    document_prompt = ""
    similarity = "dot_product"
    shorter_dims: tuple[int, ...] = ()

    def __init__(self, name: str, settings: Settings, ask: "Ask", *, revision: str = "") -> None:
        """`revision`: what the service says of the model's files, if anything; another one is another model."""
        self.name = name
        self.precision = "remote"
        self.digest = hashlib.sha256(json.dumps([name, revision]).encode()).hexdigest()
        self.max_tokens = settings.encoder_max_tokens
        self.tokenizer = ApproximateTokens()
        self._ask = ask
        self._batch = settings.encoder_batch_texts
        self._rate = _Rate(settings.encoder_requests_per_second)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Raises ModelError when the service is unavailable or returns an invalid response, EncodingError when it rejects them."""
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
            raise ModelError(f"model [{self.name}] gave vectors of different widths, or no numbers") from error
        if vectors.ndim != 2:
            raise ModelError(f"model [{self.name}] gave no list of vectors")
        return vectors


Ask = Callable[[list[str]], list[Any]]


def openai_model(name: str, settings: Settings) -> HttpModel:
    """`openai:NAME`: a service with OpenAI's `/v1/embeddings`."""
    service = _Service(f"openai:{name}", settings)

    def ask(texts: list[str]) -> list[Any]:
        answer = service.post("/v1/embeddings", {"model": name, "input": texts, "encoding_format": "float"})
        try:
            data = sorted(answer["data"], key=lambda item: item["index"])
            return [item["embedding"] for item in data]
        except (KeyError, TypeError) as error:
            raise ModelError(f"{service.url} answers otherwise than /v1/embeddings does") from error

    return HttpModel(f"openai:{name}", settings, ask)


def tei_model(name: str, settings: Settings) -> HttpModel:
    """`tei:NAME`: a text-embeddings-inference service. It runs one model, which its `/info` must call NAME."""
    service = _Service(f"tei:{name}", settings)
    info = service.get("/info")
    if info.get("model_id") != name:
        raise ModelError(f"{service.url} runs the model [{info.get('model_id')}], not [{name}]")

    def ask(texts: list[str]) -> list[Any]:
        answer = service.post("/embed", {"inputs": texts, "truncate": False})
        if not isinstance(answer, list):
            raise ModelError(f"{service.url} answers otherwise than /embed does")
        return answer

    model = HttpModel(f"tei:{name}", settings, ask, revision=str(info.get("model_sha") or ""))
    model.max_tokens = min(model.max_tokens, int(info.get("max_input_length") or model.max_tokens))
    return model


class _Service:
    """Requests with time-outs and retries; Retry-After is heeded."""

    def __init__(self, model: str, settings: Settings) -> None:
        if settings.encoder_url is None:
            raise ModelError(f"model [{model}] runs behind a service: set ESBLEND_ENCODER_URL to its address")
        self.url = settings.encoder_url.rstrip("/")
        self._headers = {"content-type": "application/json", "accept": "application/json"}
        if settings.encoder_api_key is not None:
            self._headers["authorization"] = f"Bearer {settings.encoder_api_key.get_secret_value()}"
        retry = urllib3.Retry(
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
            raise ModelError(
                f"the service of the encoder, {self.url}, cannot be reached: {type(error).__name__}"
            ) from error
        if answer.status in _REFUSED:
            raise EncodingError(f"the service of the encoder refused a text with status {answer.status}")
        if answer.status != 200:
            raise ModelError(f"the service of the encoder, {self.url}, answered with status {answer.status}")
        try:
            return orjson.loads(answer.data)
        except orjson.JSONDecodeError as error:
            raise ModelError(f"the service of the encoder, {self.url}, answered no JSON") from error


class _Rate:
    """At most so many requests a second, evenly; None: no limit."""

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
