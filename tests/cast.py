"""Records commands in a real pseudo-terminal as an asciicast (version 2), and draws it as one SVG whose lines appear in time.

commands -> pseudo-terminal -> events [seconds, "o", text] -> terminal.cast, played by `asciinema play`
                                                           -> terminal.svg, for pages
"""

import fcntl
import html
import json
import os
import pty
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from rich.ansi import AnsiDecoder
from rich.color import ColorType
from rich.text import Text

COLUMNS, ROWS = 80, 24
_PROMPT = "\x1b[2m$\x1b[0m "
_KEY_SECONDS, _PAUSE_SECONDS, _LONGEST_WAIT = 0.03, 1.0, 2.0
_CHARACTER, _LINE, _MARGIN = 8.43, 19, 16
_COLOURS = ("#0f1218", "#ff8d86", "#5fd394", "#e0ae3a", "#5b96f0", "#c792ea", "#5cc8c8", "#e8ebf1")
Event = tuple[float, str]
"""Seconds since the start, and the text that appeared."""


def record(commands: Sequence[Sequence[str]], folder: Path, environment: Mapping[str, str]) -> list[Event]:
    """Run each command in `folder` at a terminal of 80 columns. Waits longer than two seconds are cut to two; the
    keys of a command are spaced evenly. Raises CalledProcessError when a command fails."""
    events: list[Event] = []
    clock = 0.0
    for command in commands:
        for text in [_PROMPT, *" ".join(_shown(argument) for argument in command), "\r\n"]:
            clock += _KEY_SECONDS
            events.append((clock, text))
        for waited, text in _run(command, folder, environment):
            clock += min(waited, _LONGEST_WAIT)
            events.append((clock, text))
        events.append((clock, "\r\n"))
        clock += _PAUSE_SECONDS
    return events


def _shown(argument: str) -> str:
    return f'"{argument}"' if " " in argument else argument


def _run(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> list[Event]:
    """(Seconds since the last output, output) of one command."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    process = subprocess.Popen(
        command, cwd=folder, env={**environment, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    outputs, last = [], time.monotonic()
    try:
        while part := os.read(ours, 65536):
            now = time.monotonic()
            outputs.append((now - last, part.decode("utf-8", "replace")))
            last = now
    except OSError:  # Linux reports the end of the other side as an error
        pass
    finally:
        os.close(ours)
    if code := process.wait(timeout=60):
        raise subprocess.CalledProcessError(code, command, "".join(text for _, text in outputs))
    return outputs


def asciicast(events: Sequence[Event], title: str) -> str:
    """The recording in asciicast's format, version 2: a header, then a line for each event."""
    header = {"version": 2, "width": COLUMNS, "height": ROWS, "title": title}
    lines = [json.dumps(header), *(json.dumps([round(at, 3), "o", text]) for at, text in events)]
    return "\n".join(lines) + "\n"


def drawing(events: Sequence[Event], title: str) -> str:
    """An SVG of all lines. Each appears when the recording prints it, at once where people prefer less motion."""
    appears = _times(events)
    lines = list(AnsiDecoder().decode("".join(text for _, text in events).replace("\r\n", "\n")))
    while lines and not lines[-1].plain.strip():
        lines.pop()
    width, height = round(COLUMNS * _CHARACTER + 2 * _MARGIN), len(lines) * _LINE + 2 * _MARGIN
    rows = [
        f'<text y="{_MARGIN + _LINE * (number + 0.75):g}" style="animation-delay:{appears[number]:.2f}s">{_spans(line)}</text>'
        for number, line in enumerate(lines)
        if line.plain.strip()
    ]
    drawn, name = "\n".join(rows), html.escape(title)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{name}">
<title>{name}</title>
<style>
text {{ font: 14px ui-monospace, "SF Mono", Menlo, "DejaVu Sans Mono", monospace; fill: #e8ebf1; white-space: pre }}
@media (prefers-reduced-motion: no-preference) {{ text {{ animation: appear .01s backwards }} }}
@keyframes appear {{ from {{ opacity: 0 }} }}
</style>
<rect width="{width}" height="{height}" rx="8" fill="#0f1218"/>
{drawn}
</svg>
"""


def _times(events: Sequence[Event]) -> list[float]:
    """When each line is complete."""
    times, at = [], 0.0
    for at, text in events:
        times += [at] * text.count("\n")
    return [*times, at]


def _spans(line: Text) -> str:
    """The runs of equal style, each at its column, so that every font keeps the columns."""
    line.expand_tabs()
    cuts = sorted({0, len(line), *(edge for span in line.spans for edge in (span.start, span.end))})
    made = []
    for start, end in pairwise(cuts):
        text = line.plain[start:end]
        if text.strip():
            x, length = _MARGIN + start * _CHARACTER, (end - start) * _CHARACTER
            made.append(f'<tspan x="{x:.1f}" textLength="{length:.1f}"{_look(line, start)}>{html.escape(text)}</tspan>')
    return "".join(made)


def _look(line: Text, at: int) -> str:
    """The SVG attributes of the character's colour and weight."""
    colour, is_bold, is_dim = None, False, False
    for span in line.spans:
        if span.start <= at < span.end and not isinstance(span.style, str):
            colour = span.style.color or colour
            is_bold, is_dim = is_bold or bool(span.style.bold), is_dim or bool(span.style.dim)
    made = ""
    if colour is not None and colour.type is not ColorType.DEFAULT:
        named = _COLOURS[colour.number % 8] if colour.type is ColorType.STANDARD and colour.number is not None else None
        made += f' fill="{named or colour.get_truecolor().hex}"'
    return made + (' font-weight="700"' if is_bold else "") + (' opacity=".7"' if is_dim else "")
