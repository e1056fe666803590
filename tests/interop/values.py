"""Values and JSON texts by chance, for the codec beside Baileys'."""

from __future__ import annotations

import base64
import json
import math
import struct
from typing import TYPE_CHECKING, Any

from wwauth.authstate.bufferjson import UNDEFINED

if TYPE_CHECKING:
    import random

_KEYS = [
    "a",
    "b",
    "me",
    "é",
    "0",
    "1",
    "10",
    "9",
    "01",
    "-1",
    "1.5",
    "4294967294",
    "4294967295",
    "4294967296",
    "",
    "type",
    "data",
]
_KEYS += ["1e3", " 7", "12abc", "toJSON", "__proto__", "constructor", "length"]
_STRINGS = [
    "",
    "Buffer",
    '"',
    "\\",
    "/",
    "\x00\x07\b\t\n\v\f\r\x1f",
    "\x7f\x80",
    "\u2028\u2029",
    "ünïcode 😀",
    "\ud800",
    "\udc00x",
    "a\ud83d",
]
_NUMBERS = [
    0,
    -0.0,
    1,
    -1,
    0.1,
    1e21,
    1e20,
    123456789012345680000,
    1e-6,
    1e-7,
    5e-324,
    1.7976931348623157e308,
    2**53,
    2**53 + 1,
]
_NUMBERS += [-(2**63), 1.5, 100.0, 1e16, 123e-20, 2**31, 4294967295, 0.000001234, math.nan, math.inf, -math.inf]
_NUMBER_TEXTS = [
    "0",
    "-0",
    "-0.0",
    "1e400",
    "-1e400",
    "1E5",
    "1e-400",
    "12345678901234567890",
    "0.1e1",
    "1.0",
    "123456789.123456789",
]


def value(dice: random.Random, depth: int = 4) -> Any:
    """Return what a program might hand to BufferJSON."""
    kind = dice.randrange(10 if depth else 7)
    match kind:
        case 0:
            return dice.choice([None, True, False, UNDEFINED])
        case 1:
            return dice.choice(_NUMBERS)
        case 2:
            return _double(dice)
        case 3 | 4:
            return string(dice)
        case 5 | 6:
            return dice.randbytes(dice.choice([0, 1, 2, 3, 32, 33]))
        case 7:
            return [value(dice, depth - 1) for _ in range(dice.randrange(4))]
        case _:
            return {_key(dice): value(dice, depth - 1) for _ in range(dice.randrange(6))}


def string(dice: random.Random) -> str:
    if dice.random() < 0.5:
        return dice.choice(_STRINGS)
    return "".join(chr(dice.choice([dice.randrange(0x80), dice.randrange(0x3000), dice.randrange(0x110000)])) for _ in range(5))


def _key(dice: random.Random) -> str:
    # An object with toJSON, or whose type is "Buffer", is another matter.
    key = dice.choice(_KEYS) if dice.random() < 0.8 else string(dice)
    return key + "_" if key in {"toJSON", "type"} else key


def _double(dice: random.Random) -> float:
    if dice.random() < 0.5:
        return dice.choice([-1, 1]) * dice.random() * 10.0 ** dice.randrange(-25, 25)
    number: float = struct.unpack(">d", dice.randbytes(8))[0]
    return number


def text(dice: random.Random, depth: int = 4) -> str:
    """Return a JSON text, or one that is nearly so, as any program might have written it."""
    made = _text(dice, depth)
    if dice.random() < 0.1:
        made = made[: dice.randrange(len(made) + 1)] + dice.choice(["", "}", ",", "NaN", "'", "\x01", "01"])
    return made


def _text(dice: random.Random, depth: int) -> str:
    kind = dice.randrange(10 if depth else 6)
    match kind:
        case 0:
            return dice.choice(["null", "true", "false"])
        case 1:
            return dice.choice(_NUMBER_TEXTS)
        case 2 | 3:
            return json.dumps(string(dice), ensure_ascii=dice.random() < 0.5)
        case 4:
            return _object([("type", '"Buffer"'), ("data", json.dumps(_base64(dice))), *_extras(dice)], dice)
        case 5:
            keys = ["0", "1", "2", "10", "12abc", " 7", "-1", "1.5", "٣", "0x1f", "+4", "\u00a05", "\ufeff6", "Infinity"]
            return _object([(dice.choice(keys), dice.choice(["1", "300", "-1", "2.7", "1e3"])) for _ in range(3)], dice)
        case 6:
            return "[" + ",".join(_text(dice, depth - 1) for _ in range(dice.randrange(4))) + "]"
        case _:
            return _object([(_key(dice), _text(dice, depth - 1)) for _ in range(dice.randrange(6))], dice)


def _object(members: list[tuple[str, str]], dice: random.Random) -> str:
    space = dice.choice(["", "", " ", "\n\t"])
    if dice.random() < 0.3:
        dice.shuffle(members)
    return "{" + ",".join(f"{space}{json.dumps(key)}{space}:{space}{value}" for key, value in members) + space + "}"


def _base64(dice: random.Random) -> str:
    data = dice.randbytes(dice.choice([0, 1, 2, 3, 32]))
    encoded = dice.choice([base64.b64encode, base64.urlsafe_b64encode])(data).decode()
    match dice.randrange(6):
        case 0:
            return encoded.rstrip("=")
        case 1:
            return encoded[: dice.randrange(len(encoded) + 1)]
        case 2:
            at = dice.randrange(len(encoded) + 1)
            return encoded[:at] + dice.choice(["\n", " ", "!", "=", "é", "\x00"]) + encoded[at:]
    return encoded


def _extras(dice: random.Random) -> list[tuple[str, str]]:
    return [("x", "1")] if dice.random() < 0.2 else []
