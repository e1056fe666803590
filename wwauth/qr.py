"""
QR codes from their text: for a terminal, and for a page.

The text is what the event `qr` brings, or what a socket client such as Baileys calls `qr`: both kinds of clients show
their codes with the same two functions. A code's text links a device, so it is in no error message.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Literal

from .errors import ConfigurationError

if TYPE_CHECKING:
    import segno

__all__ = ["svg_qr", "terminal_qr"]

# What the standard asks for around a code; with less, some phones do not find it.
_QUIET_ZONE = 4

# Black on white of the 256-colour table, which themes do not repaint as they do the first sixteen.
_BLACK_ON_WHITE = "\x1b[38;5;16;48;5;231m"
_RESET = "\x1b[0m"

# One character shows two modules, one above the other: (upper, lower) are drawn or left as the background.
_BLOCKS = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}


def terminal_qr(
    text: str, *, ansi: bool = True, background: Literal["dark", "light"] = "dark", border: int = _QUIET_ZONE
) -> str:
    """
    Return the lines that show a code in a terminal, without a newline at the end.

    With `ansi` they carry their own black and white, which a phone reads on any background. Without it they have
    nothing but block characters and spaces, so the terminal's `background` must be told: on the other one the code is
    inverted, which many phones do not read.

    A code of WhatsApp's takes some 61 columns and 31 lines; a `border` of 1 saves six columns and three lines.

    Raises:
        ConfigurationError: `text` is empty, not text, or too long for a QR code; or another argument is wrong.
    """
    if background not in {"dark", "light"}:
        raise ConfigurationError(f"invalid background {background!r}: use 'dark' or 'light'")
    code = _make(text, border)
    # Only with explicit colours, and on light backgrounds, is what is drawn dark.
    drawn_is_dark = ansi or background == "light"
    rows = [[bool(module) == drawn_is_dark for module in row] for row in code.matrix_iter(border=border)]
    if len(rows) % 2:
        rows.append([not drawn_is_dark] * len(rows[0]))  # a light line more, since characters hold pairs
    lines = ("".join(map(_BLOCKS.__getitem__, zip(*pair, strict=True))) for pair in zip(rows[::2], rows[1::2], strict=True))
    return "\n".join(f"{_BLACK_ON_WHITE}{line}{_RESET}" if ansi else line for line in lines)


def svg_qr(text: str, *, border: int = _QUIET_ZONE) -> str:
    """
    Return a code as one `<svg>` element, for a page or for a file of its own.

    It is black on white, whatever the page's colours, and as large as the space that the page gives it.

    Raises:
        ConfigurationError: `text` is empty, not text, or too long for a QR code; or `border` is wrong.
    """
    out = io.BytesIO()
    _make(text, border).save(
        out, kind="svg", border=border, dark="#000", light="#fff", xmldecl=False, nl=False, omitsize=True, title="QR code"
    )
    return out.getvalue().decode()


def _make(text: str, border: int) -> segno.QRCode:
    import segno  # noqa: PLC0415 - few programs draw codes, and all import the events

    if not isinstance(border, int) or isinstance(border, bool) or border < 0:
        raise ConfigurationError(f"invalid border {border!r}: a number of modules, {_QUIET_ZONE} as a rule")
    if not isinstance(text, str):
        raise ConfigurationError(f"invalid QR text of type {type(text).__name__}: give the text that `qr` brings")
    if not text:
        raise ConfigurationError("invalid QR text '': it is empty; wait for a `qr` event and give its text")
    try:
        # The least correction makes the largest modules; segno raises it where it costs none.
        return segno.make_qr(text, error="l")
    except segno.DataOverflowError as error:
        raise ConfigurationError(f"invalid QR text of {len(text)} characters: a QR code holds at most 2953 bytes") from error
    except UnicodeEncodeError:
        # Not chained: that error carries the text.
        raise ConfigurationError("invalid QR text: it has characters that cannot be encoded") from None
