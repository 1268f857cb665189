"""The recorder of terminals: an asciicast of version 2, and a drawing whose lines appear in its time."""

import json
import os
import sys
from pathlib import Path
from xml.etree import ElementTree

from tests import cast

_COMMAND = (
    sys.executable,
    "-c",
    r"print('\x1b[1;32mgreen\x1b[0m & plain'); import time; time.sleep(.2); print('late')",
)


def test_a_recording_has_the_terminal_and_the_times(tmp_path: Path) -> None:
    events = cast.record([_COMMAND], tmp_path, os.environ)
    header, *lines = [json.loads(line) for line in cast.asciicast(events, "A title").splitlines()]
    assert header == {"version": 2, "width": 80, "height": 24, "title": "A title"}
    times = [at for at, kind, _ in lines if kind == "o"]
    assert times == sorted(times)
    text = "".join(text for _, _, text in lines)
    assert text.startswith("\x1b[2m$\x1b[0m ")
    assert text.index("plain") < text.index("late")
    assert times[-1] > 0.2  # a busy machine may deliver both lines together, but neither before its time


def test_a_drawing_has_the_lines_with_their_colours_and_no_control_sequence(tmp_path: Path) -> None:
    events = cast.record([_COMMAND], tmp_path, os.environ)
    drawn = cast.drawing(events, "A <title>")
    root = ElementTree.fromstring(drawn)  # noqa: S314 -- made above
    texts = ["".join(line.itertext()) for line in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[-2:] == ["green & plain", "late"]
    assert 'fill="#5fd394" font-weight="700">green</tspan>' in drawn
    assert "\x1b" not in drawn
