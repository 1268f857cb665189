"""What `--help` prints, for every command."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from esblend.cli.main import app
from esblend.cli.reference import reference


def commands() -> Iterator[tuple[str, Any]]:
    root: Any = get_command(app)
    yield "esblend", root
    for name in root.list_commands(None):
        command = root.get_command(None, name)
        for title, text in {
            name: command,
            **{f"{name} {sub}": c for sub, c in getattr(command, "commands", {}).items()},
        }.items():
            yield f"esblend {title}", text


def help_of(title: str, command: Any) -> str:
    return str(command.get_help(command.context_class(command, info_name=title, max_content_width=80)))


EVERY = dict(commands())


@pytest.mark.parametrize("title", EVERY)
def test_names_are_written_as_readers_know_them(title: str) -> None:
    """Typer's own help had `[[INDEX]]`, `{files}...`, `<list[Path]>` and `<int range>`."""
    shown = help_of(title, EVERY[title])
    assert shown.startswith(f"Usage: {title} [OPTIONS]")
    assert not re.search(r"[{}]", shown.partition("\n")[0])
    assert not re.search(r"\[\[|<(int|str|float|list|path)|^ *\S*\{", shown, re.M), shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("title", EVERY)
def test_every_argument_and_option_is_explained(title: str) -> None:
    without = [parameter.name for parameter in EVERY[title].params if not parameter.help]
    assert not without


def test_the_first_sentence_of_a_command_is_not_cut() -> None:
    for title, command in EVERY.items():
        assert "..." not in help_of(title, command).partition("Commands:")[2], title


def test_the_reference_prints_what_help_prints() -> None:
    sections = {section.partition("\n")[0]: section for section in reference().split("\n### ")[1:]}
    for title, section in sections.items():
        shown = "".join(help_of(title, EVERY[title]).split())
        cells = [cell for row in re.findall(r"^\| `(.*)` \| (.*) \|$", section, re.M) for cell in row]
        for cell in cells:
            assert "".join(cell.replace("\\|", "|").split()) in shown, f"{title}: {cell}"
