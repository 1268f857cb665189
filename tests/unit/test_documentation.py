"""The documentation's parts that are made from the code, and what its pages may load."""

import re

from esblend.cli.reference import reference
from tests.conftest import ROOT


def test_the_command_line_reference_is_that_of_the_commands() -> None:
    assert (ROOT / "docs" / "cli.md").read_text() == reference(), "run: make cli-reference"


def test_pictures_load_from_the_repository() -> None:
    for page in [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]:
        for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text()):
            assert (page.parent / picture).is_file(), f"{page.name}: {picture}"
        assert "```mermaid" not in page.read_text(), "the theme loads Mermaid from another host"
    for drawing in (ROOT / "docs" / "images").glob("*.svg"):
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", drawing.read_text())
