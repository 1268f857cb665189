"""Writes docs/cli.md from the commands themselves: `python -m esblend.cli.reference > docs/cli.md`."""

import sys
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from esblend.cli.main import _PANELS, app

_HEAD = """# Command line

<!-- made by: make cli-reference -->

`esblend COMMAND --help` prints the same. Options before the command: `--gateway URL`, `--username NAME`, `--api-key KEY`.
Exit codes: 0 success, 1 rejected or failed, 2 wrong usage or an unusable file, 3 no answer, 4 answered but incomplete,
130 interrupted.
"""
_SHARED = ("help", "data_dir", "as_json")


def reference() -> str:
    """The page: a section for each panel of `--help`, with each command's text and options."""
    root: Any = get_command(app)
    parts = [_HEAD]
    for panel, modules in _PANELS.items():
        parts.append(f"## {panel}\n")
        for name in (name for names in modules.values() for name in names):
            command = root.get_command(None, name)
            subcommands = getattr(command, "commands", None)
            for title, one in (
                [(f"{name} {sub}", each) for sub, each in subcommands.items()] if subcommands else [(name, command)]
            ):
                parts += list(_command(title, one))
    return "\n".join(parts)


def _command(title: str, command: Any) -> Iterator[str]:
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [
        parameter
        for parameter in command.params
        if parameter.param_type_name == "option" and parameter.name not in _SHARED
    ]
    names = " ".join(_argument(parameter) for parameter in arguments)
    shared = {
        parameter.name: parameter.opts[0] for parameter in command.params if parameter.name in ("data_dir", "as_json")
    }
    yield f"### esblend {title}\n"
    yield f"`esblend {' '.join(filter(None, [title, names]))}`\n"
    yield f"{_text(command.help)}\n"
    rows = [(_argument(parameter), parameter.help) for parameter in arguments if parameter.help]
    rows += [(", ".join([*parameter.opts, *parameter.secondary_opts]), parameter.help) for parameter in options]
    if rows:
        yield "| | |\n|---|---|"
        yield "\n".join(f"| `{name}` | {_text(text).replace('|', '&#124;')} |" for name, text in rows) + "\n"
    if shared:
        yield f"Also: {', '.join(f'`{name}`' for name in shared.values())}.\n"


def _argument(argument: Any) -> str:
    name = (argument.metavar or argument.name.upper()).strip("[]")
    name += "..." if argument.nargs == -1 else ""
    return name if argument.required else f"[{name}]"


def _text(text: str | None) -> str:
    paragraphs = (text or "").replace("\f", "").strip().split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


if __name__ == "__main__":
    sys.stdout.write(reference())
