"""Modules that are imported at their first use. Each test process collects all files, and some imports take seconds."""

from importlib import import_module
from typing import Any


class Later:
    """A stand-in for the module `name`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):  # pytest and its plug-ins look for their marks in all globals of a test file
            raise AttributeError(attribute)
        return getattr(import_module(self._name), attribute)


torch = Later("torch")
transformers = Later("transformers")
sentence_transformers = Later("sentence_transformers")
modules = Later("sentence_transformers.sentence_transformer.modules")
