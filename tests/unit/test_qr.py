"""Codes are read back from what is drawn, by a decoder that is not wwauth's."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest
import zxingcpp

from wwauth.errors import ConfigurationError
from wwauth.qr import svg_qr, terminal_qr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# As WhatsApp Web makes them: a reference, three public keys or secrets in base64, the platform.
CODE = (
    "2@Nq0Gm1XwFvyx8j5vZJQp4r2cT7hKbLsE9uDdYaWi3fRoMzBnVgCtHkPlSeUxIyOwAqJm6T1Zb5Xr0GhDvLcKsFp2YnQtEa=="
    ",4Yb0cVZt1kqk3hJr9PzWm7xQd2sLf5aGn8uEoTiRyBw=,u9XkM3vB7cQzRjWpLtHsFdGyNaEoKiUx5m1T2r4V6b8=,"
    "hG7fD5sA3pO1iU9yT8rE6wQ4zX2cV0bNmLkJjHgFdSs=,7"
)

# The grey of a terminal's background and of its text, in a dark and in a light theme: neither is black or white.
DARK, LIGHT = (30, 208), (246, 100)
THEMES = {"dark": DARK, "light": LIGHT}

CELL = 8  # pixels of a character's width, and of half its height
MARGIN = 4  # characters of bare background around the code


def test_the_code_is_as_long_as_a_real_one() -> None:
    assert 225 <= len(CODE) <= 245


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("border", [1, 2, 4])
def test_a_code_with_its_own_colours_is_read_on_any_background(theme: str, border: int) -> None:
    assert _read(_screen(terminal_qr(CODE, border=border), *THEMES[theme])) == [CODE]


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_a_plain_code_is_read_on_the_background_it_was_made_for(theme: str) -> None:
    drawn = terminal_qr(CODE, ansi=False, background="dark" if theme == "dark" else "light")
    assert set(drawn) <= set(" ▀▄█\n")
    assert _read(_screen(drawn, *THEMES[theme])) == [CODE]
    other = LIGHT if theme == "dark" else DARK
    assert _read(_screen(drawn, *other)) == [], "the decoder reads inverted codes: this test shows nothing"


def test_no_line_leaves_its_colours_behind_and_none_is_longer() -> None:
    lines = terminal_qr(CODE).split("\n")
    assert all(line.startswith("\x1b[") and line.endswith("\x1b[0m") for line in lines)
    assert len({len(line) for line in lines}) == 1
    assert len({len(line) for line in terminal_qr(CODE, ansi=False).split("\n")}) == 1


@pytest.mark.parametrize("text", ["1", "1@2,3", "https://wa.me/settings/linked_devices#1", "grüße ✓", "x" * 2953, "7" * 4000])
def test_any_text_is_read(text: str) -> None:
    assert _read(_screen(terminal_qr(text), *DARK)) == [text]
    assert _read(_picture(svg_qr(text), page=0)) == [text]


@pytest.mark.parametrize("page", [0, 255])
def test_an_svg_is_read_on_any_page(page: int) -> None:
    assert _read(_picture(svg_qr(CODE), page=page)) == [CODE]


def test_an_svg_is_one_element_that_takes_the_space_it_gets() -> None:
    root = ET.fromstring(svg_qr(CODE))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "viewBox" in root.attrib
    assert not {"width", "height"} & set(root.attrib)


@pytest.mark.parametrize("draw", [terminal_qr, svg_qr])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty"),
        (None, "of type NoneType"),
        (b"1@2", "of type bytes"),
        (12345, "of type int"),
        ("x" * 2954, "of 2954 characters: a QR code holds at most 2953 bytes"),
        ("\ud800", "cannot be encoded"),
    ],
)
def test_what_is_no_code_is_named(draw: Callable[[object], str], text: object, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        draw(text)


def test_no_error_shows_the_code() -> None:
    with pytest.raises(ConfigurationError) as caught:
        terminal_qr(CODE + "x" * 3000)
    assert CODE[:20] not in str(caught.value)


@pytest.mark.parametrize("border", [-1, 1.5, "4", True, None])
def test_a_wrong_border_is_named(border: int) -> None:
    with pytest.raises(ConfigurationError, match="invalid border"):
        terminal_qr(CODE, border=border)
    with pytest.raises(ConfigurationError, match="invalid border"):
        svg_qr(CODE, border=border)


def test_a_wrong_background_is_named() -> None:
    with pytest.raises(ConfigurationError, match="invalid background 'blue'"):
        terminal_qr(CODE, background="blue")  # type: ignore[arg-type]


def _read(pixels: list[bytes]) -> list[str]:
    image = memoryview(b"".join(pixels)).cast("B", (len(pixels), len(pixels[0])))
    found = zxingcpp.read_barcodes(image, try_invert=False, try_rotate=False)
    return [code.text for code in found if code.format == zxingcpp.BarcodeFormat.QRCode]


def _screen(drawn: str, background: int, foreground: int) -> list[bytes]:
    """Draw text as a terminal does whose theme has this background and this text, both grey."""
    rows = []
    for line in drawn.split("\n"):
        cells = [(background, background)] * MARGIN + list(_cells(line, background, foreground))
        cells += [(background, background)] * MARGIN
        rows += [bytes(pixel for cell in cells for pixel in [cell[half]] * CELL) for half in (0, 1) for _ in range(CELL)]
    empty = [bytes([background]) * len(rows[0])] * (2 * CELL * MARGIN)
    return empty + rows + empty


def _cells(line: str, background: int, foreground: int) -> Iterator[tuple[int, int]]:
    """Give the upper and the lower half of each character."""
    back, fore = background, foreground
    for code, character in re.findall(r"\x1b\[([0-9;]*)m|(.)", line):
        if character:
            upper, lower = {" ": (back, back), "▀": (fore, back), "▄": (back, fore), "█": (fore, fore)}[character]
            yield upper, lower
        elif code == "0":
            back, fore = background, foreground
        else:
            # The two colours of the 256-colour table that are used; any other is a KeyError.
            numbers = re.fullmatch(r"38;5;(\d+);48;5;(\d+)", code)
            assert numbers is not None, code
            fore, back = ({"16": 0, "231": 255}[number] for number in numbers.groups())


def _picture(svg: str, page: int) -> list[bytes]:
    """Draw the two paths of an SVG: a filled square, and lines one unit thick, on a page of this grey."""
    root = ET.fromstring(svg)
    size = int(root.attrib["viewBox"].split()[2])
    square, lines = root.findall("{http://www.w3.org/2000/svg}path")
    assert (square.attrib["fill"], square.attrib["d"]) == ("#fff", f"M0 0h{size}v{size}h-{size}z")
    assert lines.attrib["stroke"] == "#000"
    modules = [bytearray(b"\xff" * size) for _ in range(size)]
    x, y = 0.0, 0.0
    for command, first, second in re.findall(r"([Mmh])(-?[\d.]+)(?: (-?[\d.]+))?", lines.attrib["d"]):
        if command == "h":
            modules[int(y)][int(x) : int(x) + int(first)] = bytes(int(first))
            x += int(first)
        else:
            x, y = (float(first), float(second)) if command == "M" else (x + float(first), y + float(second))
    wide = [bytes(pixel for module in row for pixel in [module] * CELL) for row in modules]
    side = bytes([page]) * (CELL * MARGIN)
    rows = [side + row + side for row in wide for _ in range(CELL)]
    empty = [bytes([page]) * len(rows[0])] * (CELL * MARGIN)
    return empty + rows + empty
