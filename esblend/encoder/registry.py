"""The encoders of one process. Each model is loaded once, and used only if its files match the attachment."""

import threading
from collections.abc import Sequence

import structlog

from esblend.encoder.backend import Use
from esblend.encoder.encoder import Encoder, EncoderOptions, load_encoder
from esblend.encoder.probe_vector import is_same_model
from esblend.errors import ModelError
from esblend.plugins import ENCODERS, find, kind_and_name
from esblend.settings import Settings

log = structlog.get_logger()


class Encoders:
    """Loads models by name at first use and keeps them."""

    def __init__(self, settings: Settings, use: Use) -> None:
        self._settings = settings
        self._options = EncoderOptions(
            precision=settings.precision,
            backend=settings.encoder_backend,
            use=use,
            threads=settings.encoder_threads,
            token_budget=settings.encoder_token_budget,
        )
        self._loaded: dict[str, Encoder] = {}
        self._lock = threading.Lock()

    def loaded(self, name: str) -> Encoder | None:
        """The encoder if it is already loaded; never waits."""
        return self._loaded.get(name)

    def all(self) -> list[Encoder]:
        return list(self._loaded.values())

    def load(self, name: str) -> Encoder:
        """Raises ModelError when the model cannot be loaded."""
        with self._lock:
            if name not in self._loaded:
                encoder = self._loaded[name] = self._make(name)
                log.info("model loaded", model=name, dims=encoder.dims, **encoder.describe())
            return self._loaded[name]

    def _make(self, name: str) -> Encoder:
        """`kind:name` names a model of a plug-in or behind an HTTP service; all other names are local models."""
        kind, rest = kind_and_name(name)
        if kind is None:
            return load_encoder(name, self._options)
        return Encoder(find(ENCODERS, kind)(rest, self._settings))

    def matching(self, name: str, digest: str, probe: Sequence[float] | None = None) -> Encoder:
        """The encoder of an attachment. Raises ModelError when this machine has other files under that name, or when a service
        gives other vectors than `probe`."""
        encoder = self.loaded(name) or self.load(name)
        if encoder.digest != digest:
            raise ModelError(
                f"model [{name}] on this machine has other files than the model that the index was attached with "
                f"(digest {encoder.digest[:12]} here, {digest[:12]} in the attachment): install the same files"
            )
        if not is_same_model(probe, encoder.probe):
            raise ModelError(
                f"the service behind model [{name}] gives other vectors than when the index was attached: it runs another "
                "model now. Start the former model there, or migrate the index to the new one under another name"
            )
        return encoder
