"""What the commands say: live lines on a terminal, plain ones in a pipe, nothing but the answer with `--json`."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Steps:
    """
    Numbered steps, each with its time.

    On a terminal the step under way has a spinner; in a pipe each step is one plain line, written when it ends.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        # With --json, standard output belongs to the answer alone.
        self.console = Console(stderr=quiet, highlight=False, quiet=quiet)
        self._count = 0

    @contextmanager
    def step(self, text: str) -> Iterator[list[str]]:
        """Show a step until the block ends; what the block appends to the list follows the text."""
        self._count += 1
        details: list[str] = []
        start = time.monotonic()
        with self.console.status(f"{text} …"):
            yield details
        took = time.monotonic() - start
        tail = f" [dim]· {' · '.join(details)}[/dim]" if details else ""
        self.console.print(f"[green]✓[/green] {text}{tail} [dim]({took:.1f} s)[/dim]", soft_wrap=True)

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, soft_wrap=True)

    def show_qr(self, text: str) -> None:
        """Draw a code."""
        from ..qr import terminal_qr  # noqa: PLC0415 - the commands that draw none need no encoder

        if not self.console.quiet:
            self.console.file.write(terminal_qr(text, ansi=self.console.is_terminal) + "\n")
            self.console.file.flush()

    def table(self, title: str, rows: Sequence[tuple[str, str]]) -> None:
        """Print names and values."""
        table = Table(title=title, show_header=False, title_justify="left")
        for name, value in rows:
            table.add_row(name, value)
        self.console.print(table)


def megabytes(size: int) -> str:
    """Return a size for people."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
