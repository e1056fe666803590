"""What JavaScript makes of numbers, keys, half characters and damaged base64, where Python makes something else of them."""

from __future__ import annotations

import math
import re
from binascii import a2b_base64
from string import ascii_letters, digits
from typing import Any, Final

# Integers up to here are the same as JavaScript's numbers, which are doubles.
LEAST: Final = -(2**53)
MOST: Final = 2**53

# Keys that JavaScript puts first, ascending: "0" to "4294967294", without leading zeros. All of them sort before a colon.
AFTER_DIGITS: Final = ":"
_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")
_MAX_INDEX = 2**32 - 2

# How ECMAScript's parseInt begins: its white space, a sign, a digit.
_PARSES_AS_INT = re.compile("[\t\n\v\f\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]*[+-]?[0-9]")

_SURROGATES = re.compile("([\ud800-\udbff][\udc00-\udfff])|[\ud800-\udfff]")
_ONE_ALPHABET = bytes.maketrans(b"-_", b"+/")
_NOT_BASE64 = bytes(set(range(256)) - set(ascii_letters.encode() + digits.encode() + b"+/-_"))


def number_text(value: float) -> str:
    """Return a number as JavaScript writes it (ECMAScript's Number::toString; what is not finite is null in JSON)."""
    if isinstance(value, int):
        if LEAST <= value <= MOST:
            return int.__repr__(value)
        try:
            value = float(value)
        except OverflowError:
            return "null"
    if not math.isfinite(value):
        return "null"
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    # Both languages take the shortest digits that give the same double; they differ in where they put the point.
    mantissa, _, exponent = float.__repr__(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    shortest = (whole + fraction).lstrip("0")
    point = len(shortest) - len(fraction) + int(exponent or 0)
    shortest = shortest.rstrip("0")
    if len(shortest) <= point <= 21:
        return f"{sign}{shortest}{'0' * (point - len(shortest))}"
    if 0 < point <= 21:
        return f"{sign}{shortest[:point]}.{shortest[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{shortest}"
    tail = f".{shortest[1:]}" if len(shortest) > 1 else ""
    return f"{sign}{shortest[0]}{tail}e{point - 1:+d}"


def _is_index(key: str) -> bool:
    return _INDEX.fullmatch(key) is not None and int(key) <= _MAX_INDEX


def in_order(members: dict[str, Any]) -> dict[str, Any]:
    """Return members in JavaScript's order."""
    first = sorted((key for key in members if _is_index(key)), key=int)
    return {key: members[key] for key in first} | members if first else members


def without_surrogates(text: str) -> str:
    """Return a text that UTF-8 can take: half a character is written as its number, two halves as one character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return _SURROGATES.sub(_escaped, text)
    return text


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("utf-16", "surrogatepass").decode("utf-16") if match[1] else f"\\u{ord(match[0]):04x}"


def lenient_base64(text: str) -> bytes:
    """Decode base64 as Node does: both alphabets, padding or none, anything else skipped, ended by the first `=`."""
    # Of what is beyond one byte, Node looks at the low one.
    letters = text.encode("utf-16-le", "surrogatepass")[::2].partition(b"=")[0]
    letters = letters.translate(_ONE_ALPHABET, _NOT_BASE64)
    if len(letters) % 4 == 1:
        letters = letters[:-1]
    return a2b_base64(letters + b"=" * (-len(letters) % 4))


def to_byte(number: float) -> int:
    """Return ECMAScript's ToUint8 of a number."""
    return int(number) & 255 if math.isfinite(number) else 0


def parses_as_int(key: str) -> bool:
    """Tell whether parseInt finds a number in a key."""
    return _PARSES_AS_INT.match(key) is not None


def integer(text: str) -> float:
    """Return the number that an integer's text stands for."""
    # The length keeps clear of what Python refuses to convert, too.
    return int(text) if len(text) < 16 else _whole(float(text))


def real(text: str) -> float:
    """Return the number that a fraction's or a power's text stands for."""
    return _whole(float(text))


def _whole(number: float) -> float:
    """Return a whole number as an int: JavaScript has one kind of numbers, and 1.0 is written as 1."""
    return int(number) if number.is_integer() else number
