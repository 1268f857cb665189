"""The documentation of Python's standard library, read from its docstrings: a corpus on every machine."""

import ast
import builtins
import importlib
import inspect
import sys
import sysconfig
import types
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_LEFT_OUT = {
    "test",
    "idlelib",
    "lib2to3",
    "turtledemo",
    "site-packages",
    "dist-packages",
    "__pycache__",
    "pydoc_data",
    "ensurepip",
}
_LEAST_CHARACTERS = 20


@dataclass(frozen=True)
class Entry:
    """A documented module, class or function."""

    name: str
    """Qualified, as in `json.JSONEncoder.default`; unique."""
    kind: str
    module: str
    signature: str
    doc: str

    def document(self) -> dict[str, Any]:
        return asdict(self)


def read_corpus() -> list[Entry]:
    """All public entries, sorted by name, without duplicates. Sources are parsed, not run; modules without Python
    source are imported."""
    entries: dict[str, Entry] = {}
    for entry in (*_from_sources(), *_from_builtins()):
        entries.setdefault(entry.name, entry)
    return [entries[name] for name in sorted(entries)]


def _from_sources() -> Iterator[Entry]:
    root = Path(sysconfig.get_paths()["stdlib"])
    for file in sorted(root.rglob("*.py")):
        steps = file.relative_to(root).with_suffix("").parts
        if _LEFT_OUT.intersection(steps) or any(_is_private(step) for step in steps if step != "__init__"):
            continue
        module = ".".join(step for step in steps if step != "__init__")
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError, OSError):
            continue
        yield from _entry(module, "module", module, "", ast.get_docstring(tree))
        yield from _members(tree, module, module)


def _members(node: ast.Module | ast.ClassDef, prefix: str, module: str) -> Iterator[Entry]:
    for member in node.body:
        if not isinstance(member, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or _is_private(member.name):
            continue
        name = f"{prefix}.{member.name}"
        if isinstance(member, ast.ClassDef):
            yield from _entry(name, "class", module, "", ast.get_docstring(member))
            yield from _members(member, name, module)
        else:
            signature = f"{member.name}({ast.unparse(member.args)})"
            yield from _entry(name, "function", module, signature, ast.get_docstring(member))


def _from_builtins() -> Iterator[Entry]:
    yield from _from_object("builtins", builtins, "")
    for name in sorted(sys.builtin_module_names):
        public = "os" if name == "posix" else name.lstrip("_")
        if public in sys.stdlib_module_names and public != "builtins":
            yield from _from_object(public, importlib.import_module(name), f"{public}.")


def _from_object(module: str, value: types.ModuleType, prefix: str) -> Iterator[Entry]:
    if prefix:
        yield from _entry(module, "module", module, "", inspect.getdoc(value))
    for name, member in sorted(vars(value).items()):
        if _is_private(name):
            continue
        if inspect.isclass(member):
            yield from _entry(prefix + name, "class", module, "", inspect.getdoc(member))
            for inner, method in sorted(vars(member).items()):
                if not _is_private(inner) and callable(method):
                    yield from _entry(f"{prefix}{name}.{inner}", "function", module, "", inspect.getdoc(method))
        elif inspect.isroutine(member):
            yield from _entry(prefix + name, "function", module, "", inspect.getdoc(member))


def _entry(name: str, kind: str, module: str, signature: str, doc: str | None) -> Iterator[Entry]:
    if doc and len(doc.strip()) >= _LEAST_CHARACTERS:
        yield Entry(name, kind, module, signature, doc.strip())


def _is_private(name: str) -> bool:
    return name.startswith("_")
