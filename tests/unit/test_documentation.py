"""The documentation's parts that are made from the code, and what its pages may load."""

import re
import tomllib

from esblend.cli.reference import reference
from tests.conftest import ROOT


def test_the_command_line_reference_is_that_of_the_commands() -> None:
    assert (ROOT / "docs" / "cli.md").read_text() == reference(), "run: make cli-reference"


def test_the_playground_names_commands_that_exist() -> None:
    """It named `esblend dead-letters --index`, which is no command."""
    known = {section.partition("\n")[0]: section for section in reference().split("\n### esblend ")[1:]}
    texts = [file.read_text() for file in (ROOT / "query" / "playground" / "static").glob("*.js")]
    named = [match for text in texts for match in re.findall(r"esblend ([a-z]+(?:-[a-z]+)*)((?: [^ `\\]+)*)", text)]
    assert {command for command, _ in named} >= {"attach", "dead-letters", "eval"}
    for command, options in named:
        words = options.split()
        title = command if command in known else f"{command} {words[0]}"
        assert title in known, f"esblend {command}{options}"
        for option in re.findall(r"--[a-z-]+", options):
            assert option in known[title], f"esblend {command}{options}"


def test_every_extra_is_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", (ROOT / "docs" / "install.md").read_text(), re.M)
    assert {name for name, _ in rows} == set(project["optional-dependencies"]) - {"clients", "dev"}  # for the tests


def test_the_readme_has_its_picture_on_the_first_screen() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert next(number for number, line in enumerate(lines) if line.startswith("![")) < 10


def test_the_drawings_show_tasks_as_they_are() -> None:
    """A task is a range of sequence numbers; the drawings had document ids."""
    for name in ("flow", "write-to-vector"):
        assert not re.search(r">[^<]*\bids\b", (ROOT / "docs" / "images" / f"{name}.svg").read_text()), name


def test_pictures_load_from_the_repository() -> None:
    for page in [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]:
        for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text()):
            assert (page.parent / picture).is_file(), f"{page.name}: {picture}"
        assert "```mermaid" not in page.read_text(), "the theme loads Mermaid from another host"
    for drawing in (ROOT / "docs" / "images").glob("*.svg"):
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", drawing.read_text())
