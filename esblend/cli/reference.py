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
130 interrupted. `--data-dir FOLDER`, or ESBLEND_DATA_DIR, names the data folder of a stack on this machine. `--json` prints
one JSON document for scripts.
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
            commands = {f"{name} {sub}": each for sub, each in subcommands.items()} if subcommands else {name: command}
            for title, described in commands.items():
                parts += list(_command(title, described))
    return "\n".join(parts)


def _command(title: str, command: Any) -> Iterator[str]:
    context = command.context_class(command, info_name=f"esblend {title}")
    yield f"### esblend {title}\n"
    yield f"`{' '.join([f'esblend {title}', *command.collect_usage_pieces(context)])}`\n"
    yield f"{_text(command.help)}\n"
    shown = [parameter for parameter in command.params if parameter.name not in _SHARED]
    records = [record for parameter in shown if (record := parameter.get_help_record(context))]
    if records:
        yield "| argument or option | meaning |\n|---|---|"
        yield "\n".join(f"| `{_cell(name)}` | {_cell(text)} |" for name, text in records) + "\n"
    shared = [parameter.opts[0] for parameter in command.params if parameter.name in ("data_dir", "as_json")]
    if shared:
        yield f"Also: {', '.join(f'`{name}`' for name in shared)}.\n"


def _cell(text: str | None) -> str:
    return _text(text).replace("|", "\\|")


def _text(text: str | None) -> str:
    paragraphs = (text or "").replace("\f", "").strip().split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


if __name__ == "__main__":
    sys.stdout.write(reference())
