"""
Take a picture of a command's terminal: run it in a real pseudo-terminal, and write what it left on the screen as SVG.

To run (Linux and macOS; needs `pip install pyte`):
    python scripts/picture.py docs/terminal.svg -- wwauth demo
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from html import escape
from pathlib import Path
from typing import Any

COLUMNS, ROWS = 104, 120
CELL_WIDTH, CELL_HEIGHT, MARGIN = 8.4, 17.0, 14.0

# One font is enough for text; blocks are drawn as rectangles, since fonts leave seams between them.
STYLE = "font-family:ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;font-size:14px;white-space:pre"
BACKGROUND, FOREGROUND = "#14181c", "#d6dde4"
COLOURS = {
    "black": "#000000", "red": "#e0626b", "green": "#6cc070", "brown": "#d9b45b", "blue": "#6a9fe8", "magenta": "#c07ad0",
    "cyan": "#5fc1c9", "white": "#ffffff", "brightblack": "#7a858f", "brightred": "#f07c84", "brightgreen": "#86d98a",
    "brightbrown": "#f0cf7a", "brightblue": "#86b6f5", "brightmagenta": "#d595e3", "brightcyan": "#7fd9e0",
    "brightwhite": "#ffffff",
}  # fmt: skip
UPPER, LOWER, FULL = "▀", "▄", "█"


def main(arguments: list[str]) -> None:
    """Run the command, then write the picture; a command that fails gives none."""
    if len(arguments) < 3 or arguments[1] != "--":
        sys.exit(__doc__)
    Path(arguments[0]).write_text(draw(screen_of(arguments[2:]), "$ " + " ".join(arguments[2:])), encoding="utf-8")


def screen_of(command: list[str]) -> Any:
    """Run `command` on a terminal of COLUMNS by ROWS, and return the screen when it has ended."""
    if sys.platform == "win32":
        sys.exit("a pseudo-terminal is needed: run this on Linux or macOS")
    import fcntl  # noqa: PLC0415 - POSIX only
    import pty  # noqa: PLC0415
    import termios  # noqa: PLC0415

    import pyte  # noqa: PLC0415

    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not data:
            break
        stream.feed(data)
    os.close(ours)
    if process.wait() != 0:
        sys.exit(f"the command failed with exit code {process.returncode}")
    return screen


def draw(screen: Any, title: str) -> str:
    """Return the screen as SVG, down to its last line that is not empty."""
    lines = [[screen.buffer[y][x] for x in range(COLUMNS)] for y in range(ROWS)]
    while lines and all(cell.data == " " and cell.bg == "default" for cell in lines[-1]):
        lines.pop()
    width = COLUMNS * CELL_WIDTH + 2 * MARGIN
    height = (len(lines) + 2) * CELL_HEIGHT + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" style="{STYLE}">',
        "<style>rect { shape-rendering: crispEdges }</style>",
        f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>',
        _text(0, 0, title, FOREGROUND, bold=True),
    ]
    for y, line in enumerate(lines, start=2):
        parts += _line(y, line)
    return "\n".join([*parts, "</svg>", ""])


def _line(y: int, cells: list[Any]) -> list[str]:
    rectangles, texts = [], []
    for start, end in _runs(cells):
        cell, text = cells[start], "".join(cell.data for cell in cells[start:end])
        front, back = _colour(cell.fg, FOREGROUND), _colour(cell.bg, BACKGROUND)
        if cell.reverse:
            front, back = back, front
        if back != BACKGROUND:
            rectangles.append(_rectangle(start, y, end - start, 0, 1, back))
        if set(text) <= {UPPER, LOWER, FULL, " "}:
            for top, blocks in ((0.0, UPPER + FULL), (0.5, LOWER + FULL)):
                half = "".join("#" if character in blocks else " " for character in text)
                rectangles += [
                    _rectangle(start + run.start(), y, len(run.group()), top, top + 0.5, front)
                    for run in re.finditer("#+", half)
                ]
        elif text.strip():
            texts.append(_text(start, y, text, front, bold=cell.bold))
    return rectangles + texts


def _runs(cells: list[Any]) -> list[tuple[int, int]]:
    """Cut a line where the looks change, or between blocks and text."""

    def looks(cell: Any) -> tuple[object, ...]:
        return cell.fg, cell.bg, cell.bold, cell.reverse, cell.data in {UPPER, LOWER, FULL}

    cuts = [x for x in range(1, len(cells)) if looks(cells[x]) != looks(cells[x - 1])]
    return list(zip([0, *cuts], [*cuts, len(cells)], strict=True))


def _colour(name: str, default: str) -> str:
    return default if name == "default" else COLOURS.get(name, f"#{name}")


def _rectangle(x: float, y: float, width: float, top: float, bottom: float, colour: str) -> str:
    # A little overlap, since neighbours that only touch leave a hairline.
    return (
        f'<rect x="{MARGIN + x * CELL_WIDTH:.2f}" y="{MARGIN + (y + top) * CELL_HEIGHT:.2f}" '
        f'width="{width * CELL_WIDTH + 0.2:.2f}" height="{(bottom - top) * CELL_HEIGHT + 0.2:.2f}" fill="{colour}"/>'
    )


def _text(x: float, y: float, text: str, colour: str, *, bold: bool) -> str:
    weight = ' font-weight="bold"' if bold else ""
    length = f' textLength="{len(text.rstrip()) * CELL_WIDTH:.2f}"'
    return (
        f'<text x="{MARGIN + x * CELL_WIDTH:.2f}" y="{MARGIN + (y + 0.78) * CELL_HEIGHT:.2f}" fill="{colour}"{weight}{length} '
        f'xml:space="preserve">{escape(text.rstrip())}</text>'
    )


if __name__ == "__main__":
    main(sys.argv[1:])
