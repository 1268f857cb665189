"""Reads the list of modules of a sentence-transformers folder, and follows a Router (also called Asym) along one route.

modules.json -> Router? -> router_config.json -> the route's modules -> [(kind, folder), ...]
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from esblend.encoder.model_folder import read_json
from esblend.errors import ModelError

Task = Literal["query", "document"]
INPUT_KINDS = ("Transformer", "StaticEmbedding")
_ROUTER_KINDS = ("Router", "Asym")
_ROUTES = {"query": ("query",), "document": ("document", "doc", "passage", "corpus")}
"""Names of routes by task, for folders without a mapping; Asym lets its author choose the names."""


@dataclass(frozen=True)
class ModuleFolder:
    """A module: the name of its class, and its folder."""

    kind: str
    path: Path


def module_list(path: Path, name: str, task: Task) -> list[ModuleFolder]:
    """The modules in the order in which they run for `task`. Raises ModelError when the folder does not list a usable order.

    A plain transformers folder is a transformer with mean pooling, as in sentence-transformers.
    """
    modules: list[ModuleFolder] = []
    for module in _listed(path, name):
        modules += _route(module.path, path, name, task) if module.kind in _ROUTER_KINDS else [module]
    if not modules or modules[0].kind not in INPUT_KINDS:
        first = f"is a [{modules[0].kind}]" if modules else "is missing"
        raise ModelError(f"model [{name}]: its first module {first}; supported are {' and '.join(INPUT_KINDS)}")
    for module in modules:
        if not module.path.resolve().is_relative_to(path.resolve()):
            raise ModelError(f"model [{name}]: its list of modules points outside of the folder")
    return modules


def is_routed(path: Path, name: str) -> bool:
    """Whether queries and documents take different ways through the model."""
    return any(module.kind in _ROUTER_KINDS for module in _listed(path, name))


def _listed(path: Path, name: str) -> list[ModuleFolder]:
    file = path / "modules.json"
    if not file.is_file():
        if not (path / "config.json").is_file():
            raise ModelError(f"model [{name}] cannot be loaded: its folder has neither modules.json nor config.json")
        return [ModuleFolder("Transformer", path)]
    return [
        ModuleFolder(_class_name(module["type"]), path / str(module["path"]))
        for module in read_json(file, name, required=True)
    ]


def _class_name(dotted: str) -> str:
    return str(dotted).rsplit(".", 1)[-1]


def _route(folder: Path, root: Path, name: str, task: Task) -> list[ModuleFolder]:
    if not folder.resolve().is_relative_to(root.resolve()):
        raise ModelError(f"model [{name}]: its list of modules points outside of the folder")
    config = read_json(folder / "router_config.json", name) or read_json(folder / "config.json", name, required=True)
    structure, types = config.get("structure") or {}, config.get("types") or {}
    route = _route_name(config.get("parameters") or {}, structure, task)
    if route is None:
        raise ModelError(
            f"model [{name}] has a Router without a route for a {task}; its routes are {', '.join(sorted(structure))}"
        )
    return [ModuleFolder(_class_name(types.get(module, "unknown")), folder / module) for module in structure[route]]


def _route_name(parameters: Mapping[str, Any], structure: Mapping[str, Any], task: Task) -> str | None:
    """The route in the order of precedence that sentence-transformers documents for its Router."""
    mappings = {ast.literal_eval(key): route for key, route in (parameters.get("route_mappings") or {}).items()}
    for key in ((task, "text"), (task, None), (None, "text"), (None, None)):
        if mappings.get(key) in structure:
            return str(mappings[key])
    candidates = (*_ROUTES[task], "text", parameters.get("default_route"))
    return next((route for route in candidates if route in structure), None)
