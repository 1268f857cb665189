"""How `--help` writes arguments and options, whichever version of Typer is installed: `[INDEX]`, `-n, --lines NUMBER`."""

import re
from typing import Any

_REQUIRED = re.compile(r"\s*\[required\]$")


def simplify(command: Any) -> None:
    """Make a command's help show upper-case names, and one word for the kind of an option's value."""
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            _simplify_argument(parameter)
        else:
            _simplify_option(parameter)


def _simplify_argument(argument: Any) -> None:
    name = (argument.metavar or argument.name).upper().strip("[]")
    argument.metavar = name  # messages about a missing argument name it
    shown = f"{name}..." if argument.nargs == -1 else name
    shown = shown if argument.required else f"[{shown}]"
    full_record = argument.get_help_record
    argument.get_usage_pieces = lambda _: [shown]

    def record(context: Any) -> tuple[str, str] | None:
        full = full_record(context)
        return (shown, _REQUIRED.sub("", full[1])) if full and argument.help else None

    argument.get_help_record = record


def _simplify_option(option: Any) -> None:
    full_record = option.get_help_record

    def record(context: Any) -> tuple[str, str] | None:
        full = full_record(context)
        if full is None:
            return None
        names, kind = re.fullmatch(r"((?:[,/ ]*--?[\w-]+)+) ?(.*)", full[0]).groups()  # type: ignore[union-attr]
        return f"{names} {_kind(kind)}".rstrip(), full[1]

    option.get_help_record = record


def _kind(metavar: str) -> str:
    """The value's kind in one word, from Typer's or Click's: `<int range>`, `INTEGER RANGE`, `<list[Path]>`, `[a|b]`."""
    if not metavar or "=" in metavar:
        return metavar
    word = re.sub(r"^list\[(.*)\]$", r"\1", metavar.strip("<>"), flags=re.I).strip("[]")
    if "|" in word:
        return word
    first = word.lower().split()[0]
    return {"int": "NUMBER", "integer": "NUMBER", "float": "NUMBER", "path": "PATH"}.get(first, "TEXT")
