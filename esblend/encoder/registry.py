"""The encoders of one process: each model loaded once, and used only where its files are the expected ones."""

import threading

import structlog

from esblend.encoder.encoder import Encoder, load_encoder
from esblend.errors import ModelError
from esblend.settings import Settings

log = structlog.get_logger()


class Encoders:
    """Loads models by name at first use and keeps them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loaded: dict[str, Encoder] = {}
        self._lock = threading.Lock()

    def load(self, name: str) -> Encoder:
        """Raises ModelError when the model cannot be loaded."""
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = load_encoder(
                    name, threads=self._settings.encoder_threads, token_budget=self._settings.encoder_token_budget
                )
                log.info("model loaded", model=name, dims=self._loaded[name].dims)
            return self._loaded[name]

    def matching(self, name: str, digest: str) -> Encoder:
        """The encoder of an attachment. Raises ModelError when this machine has other files under that name."""
        encoder = self.load(name)
        if encoder.digest != digest:
            raise ModelError(
                f"model [{name}] on this machine is not the one that the index was attached with "
                f"(digest {encoder.digest[:12]}, attached {digest[:12]}): install the same files"
            )
        return encoder
