"""
BufferJSON: JSON in which bytes are `{"type":"Buffer","data":"<base64>"}`, as Baileys keeps all that it keeps.

Written texts are, byte for byte, what `JSON.stringify(value, BufferJSON.replacer)` gives in Baileys 7. Read are all forms that
any `BufferJSON.reviver` since Baileys 6 turned into bytes: what one of them would have left as an object is bytes here.
"""

from __future__ import annotations

import json
import math
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import Enum
from json.encoder import encode_basestring as _quote
from string import ascii_letters, digits
from typing import Any, Final, Literal, NoReturn

from ..errors import ConfigurationError, SessionCorrupted

__all__ = ["UNDEFINED", "BufferJSON", "NotBufferJSON", "Undefined"]


class Undefined(Enum):
    """JavaScript's `undefined`."""

    UNDEFINED = "undefined"

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "UNDEFINED"


UNDEFINED: Final = Undefined.UNDEFINED
"""JavaScript's `undefined`: a member that is left out, an element that is written as null; falsy."""


class NotBufferJSON(SessionCorrupted, ValueError):
    """A text is not JSON, so it is damaged or something else; the message tells the place and nothing of the text."""


# Integers up to here are the same as JavaScript's numbers, which are doubles.
_LEAST, _MOST = -(2**53), 2**53

# Keys that JavaScript puts first, ascending: "0" to "4294967294", without leading zeros. All of them sort before a colon.
_AFTER_DIGITS = ":"
_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")
_MAX_INDEX = 2**32 - 2

# How ECMAScript's parseInt begins: its white space, a sign, a digit.
_PARSES_AS_INT = re.compile("[\t\n\v\f\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]*[+-]?[0-9]")

_SURROGATES = re.compile("([\ud800-\udbff][\udc00-\udfff])|[\ud800-\udfff]")
_ONE_ALPHABET = bytes.maketrans(b"-_", b"+/")
_NOT_BASE64 = bytes(set(range(256)) - set(ascii_letters.encode() + digits.encode() + b"+/-_"))

_BUFFER = "Buffer"


class BufferJSON:
    """
    Writes and reads JSON with bytes in it; a namespace, never instantiated.

    In memory: bytes are `bytes` (written too: `bytearray`, `memoryview`), objects are `dict` (written too: any mapping whose
    keys are strings or integers), arrays are `list` (written too: `tuple`), and numbers have the meaning they have in
    JavaScript: integers beyond 2**53 are rounded to doubles, `NaN` and infinities are written as null.
    """

    @staticmethod
    def dumps(obj: object) -> str:
        """
        Return the text of an object, without spaces and with JavaScript's order of keys.

        A `dict` that is the JSON form of bytes is written as these bytes: `{"type": "Buffer", "data": …}` with base64 or a
        list of integers, and nothing beside. (Baileys would encode the base64 once more.)

        Raises:
            ConfigurationError: Something in it has no JSON form, contains itself or is nested too deep; the message names
            where it is and its type, never the value.
        """
        parts: list[str] = []
        try:
            _write(obj, parts.append)
        except _Unfit as unfit:
            raise ConfigurationError(str(unfit)) from None
        text = "".join(parts)
        return text if text.isascii() else _without_surrogates(text)

    @staticmethod
    def loads(text: str | bytes | bytearray | memoryview) -> Any:
        """
        Return the object that a text stands for; strict as `JSON.parse`.

        Raises:
            NotBufferJSON: The text is not JSON; a `ValueError` and a `SessionCorrupted`.
        """
        if not isinstance(text, str):
            try:
                text = str(text, "utf-8")
            except UnicodeDecodeError as error:
                raise NotBufferJSON(f"not a BufferJSON text: no UTF-8 at byte {error.start}") from None
            except TypeError:
                raise ConfigurationError(f"a BufferJSON text is a str or bytes, not {type(text).__name__}") from None
        try:
            value, end = _decoder.raw_decode(text)
            # Rare, and a text with white space after it is still JSON.
            return value if end == len(text) else _decoder.decode(text)
        except json.JSONDecodeError as error:
            return _again(text, error)
        except RecursionError:
            raise NotBufferJSON("not a BufferJSON text: nested too deep") from None

    @staticmethod
    def default(obj: object) -> dict[str, Any]:
        """
        Return the JSON form of bytes, for `json.dumps(…, default=BufferJSON.default)`.

        Key order and number forms are `json`'s then; `dumps` has JavaScript's.

        Raises:
            ConfigurationError: The object is neither bytes nor a mapping.
        """
        if isinstance(obj, bytes | bytearray | memoryview):
            return {"type": _BUFFER, "data": _base64(obj)}
        if isinstance(obj, Mapping):
            return dict(obj)
        raise ConfigurationError(f"a value of type {type(obj).__name__} has no JSON form: convert it first")

    @staticmethod
    def object_hook(value: dict[str, Any]) -> Any:
        """Return bytes where an object is a form of bytes, else the object; for `json.loads(…, object_hook=…)`."""
        if "type" in value or "buffer" in value:
            found = _wrapped(value)
            if found is not None:
                return found
        for item in value.values():
            if type(item) is not int and type(item) is not float:
                return value
        return _indexed(value) if value else value


_TOO_DEEP = "contains itself or is nested too deep: store plain data"


class _Unfit(Exception):
    """Something cannot be written; the levels above it add where it is."""

    def __init__(self, why: str) -> None:
        super().__init__()
        self.why = why
        self.path: list[object] = []

    def __str__(self) -> str:
        # The first steps are enough to find it, also where an object contains itself.
        steps = "".join(_step(key) for key in self.path[: -7 if len(self.path) > 6 else None : -1])
        return f"the value{' at ' if steps else ''}{steps}{'…' if len(self.path) > 6 else ''} {self.why}"


def _step(key: object) -> str:
    return f"[{key!r:.60}]" if isinstance(key, str | int) else f"[a key of type {type(key).__name__}]"


def _write(value: object, out: Callable[[str], object]) -> None:
    """Hand the text of a value to `out`, part by part."""
    kind = type(value)
    if kind is dict:
        _write_members(value, out)  # type: ignore[arg-type]
    elif kind is list:
        _write_array(value, out)  # type: ignore[arg-type]
    elif kind is str:
        out(_quote(value))  # type: ignore[arg-type]
    elif value is None:
        out("null")
    elif value is True:
        out("true")
    elif value is False:
        out("false")
    else:
        _write_other(value, out)


def _write_members(members: dict[str, Any], out: Callable[[str], object]) -> None:  # noqa: C901 - one branch for each kind
    # Every save of every message passes here: the usual kinds of members are written in place, without a call for each.
    if not members:
        out("{}")
        return
    try:
        if min(members) < _AFTER_DIGITS:
            members = _in_order(members)
    except TypeError:
        members = _in_order(_named(members))
    if "type" in members and members["type"] == _BUFFER:
        out(_wrap(_plain_buffer(members)))
        return
    separator = "{"
    key = ""
    try:
        for key, item in members.items():
            kind = type(item)
            if kind is str:
                out(f"{separator}{_quote(key)}:{_quote(item)}")
            elif kind is bytes:
                data = b2a_base64(item, newline=False).decode()
                out(f'{separator}{_quote(key)}:{{"type":"Buffer","data":"{data}"}}')
            elif kind is dict:
                out(f"{separator}{_quote(key)}:")
                _write_members(item, out)
            elif kind is int and _LEAST <= item <= _MOST:
                out(f"{separator}{_quote(key)}:{item}")
            elif item is UNDEFINED:
                continue
            else:
                out(f"{separator}{_quote(key)}:")
                _write(item, out)
            separator = ","
    except _Unfit as unfit:
        unfit.path.append(key)
        raise
    except RecursionError:
        raise _Unfit(_TOO_DEEP) from None
    out("}" if separator == "," else "{}")


def _write_array(value: list[object] | tuple[object, ...], out: Callable[[str], object]) -> None:
    separator = "["
    index = -1
    try:
        for item in value:
            index += 1
            out(separator)
            if item is UNDEFINED:
                out("null")
            else:
                _write(item, out)
            separator = ","
    except _Unfit as unfit:
        unfit.path.append(index)
        raise
    except RecursionError:
        raise _Unfit(_TOO_DEEP) from None
    out("]" if separator == "," else "[]")


def _write_other(value: object, out: Callable[[str], object]) -> None:
    """Write numbers, bytes, and what is a usual kind of value under another name."""
    if isinstance(value, int | float):
        out(_number(value))
    elif isinstance(value, bytes | bytearray | memoryview):
        out(_wrap(value))
    elif isinstance(value, str):
        out(_quote(value))
    elif isinstance(value, Mapping):
        _write(dict(value), out)
    elif isinstance(value, list | tuple):
        _write_array(value, out)
    else:
        raise _Unfit(f"is of type {type(value).__name__}, which has no JSON form: convert it first")


def _number(value: float) -> str:
    """Return a number as JavaScript writes it (ECMAScript's Number::toString; what is not finite is null in JSON)."""
    if isinstance(value, int):
        if _LEAST <= value <= _MOST:
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
    number = Decimal(float.__repr__(value)).normalize().as_tuple()
    shortest = "".join(map(str, number.digits))
    point = len(shortest) + int(number.exponent)
    if len(shortest) <= point <= 21:
        return f"{sign}{shortest}{'0' * (point - len(shortest))}"
    if 0 < point <= 21:
        return f"{sign}{shortest[:point]}.{shortest[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{shortest}"
    fraction = f".{shortest[1:]}" if len(shortest) > 1 else ""
    return f"{sign}{shortest[0]}{fraction}e{point - 1:+d}"


def _base64(value: bytes | bytearray | memoryview) -> str:
    return b2a_base64(bytes(value), newline=False).decode()


def _wrap(value: bytes | bytearray | memoryview) -> str:
    return f'{{"type":"Buffer","data":"{_base64(value)}"}}'


def _named(members: Mapping[Any, Any]) -> dict[str, Any]:
    """Return members whose integer keys have the names that JavaScript gives them."""
    named: dict[str, Any] = {}
    for key, item in members.items():
        if isinstance(key, str):
            name = key
        elif isinstance(key, int) and not isinstance(key, bool):
            name = _number(key)
        else:
            raise _Unfit(f"has a key of type {type(key).__name__}: use strings")
        if name in named:
            raise _Unfit(f"has two keys that JavaScript calls {name!r:.60}: use strings")
        named[name] = item
    return named


def _is_index(key: str) -> bool:
    return _INDEX.fullmatch(key) is not None and int(key) <= _MAX_INDEX


def _in_order(members: dict[str, Any]) -> dict[str, Any]:
    """Return members in JavaScript's order."""
    first = sorted((key for key in members if _is_index(key)), key=int)
    return {key: members[key] for key in first} | members if first else members


def _plain_buffer(members: dict[str, Any]) -> bytes:
    """
    Return the bytes of an object that has the form which is theirs alone.

    Baileys takes base64 for text here and encodes it a second time, and drops what else there is.
    """
    data = members.get("data")
    if len(members) == 2:
        if isinstance(data, str):
            try:
                return a2b_base64(data, strict_mode=True)
            except ValueError:
                pass
        elif (found := _bytes_of(data)) is not None:
            return found
    raise _Unfit("has the type 'Buffer', which is the form of bytes, and no such data: store bytes, or name the type otherwise")


def _without_surrogates(text: str) -> str:
    """Return a text that UTF-8 can take: half a character is written as its number, two halves as one character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return _SURROGATES.sub(_escaped, text)
    return text


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("utf-16", "surrogatepass").decode("utf-16") if match[1] else f"\\u{ord(match[0]):04x}"


def _wrapped(value: dict[str, Any]) -> bytes | None:
    """Return the bytes of `{type: 'Buffer', data | value}` or `{buffer: true, data | value}`, or None."""
    if value.get("type") == _BUFFER or value.get("buffer") is True:
        for name in ("data", "value"):
            data = value.get(name)
            if type(data) is str:
                try:
                    return a2b_base64(data, strict_mode=True)
                except ValueError:
                    return _lenient_base64(data)
            if (found := _bytes_of(data)) is not None:
                return found
    return None


def _lenient_base64(text: str) -> bytes:
    """Decode base64 as Node does: both alphabets, padding or none, anything else skipped, ended by the first `=`."""
    # Of what is beyond one byte, Node looks at the low one.
    letters = text.encode("utf-16-le", "surrogatepass")[::2].partition(b"=")[0]
    letters = letters.translate(_ONE_ALPHABET, _NOT_BASE64)
    if len(letters) % 4 == 1:
        letters = letters[:-1]
    return a2b_base64(letters + b"=" * (-len(letters) % 4))


def _bytes_of(data: object) -> bytes | None:
    """Return what Node's Buffer.from() makes of a list of numbers or of bytes, or None for anything else."""
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    if not isinstance(data, list | tuple) or not all(type(item) is int or type(item) is float for item in data):
        return None
    return bytes(map(_byte, data))


def _byte(number: float) -> int:
    """Return ECMAScript's ToUint8 of a number."""
    return int(number) & 255 if math.isfinite(number) else 0


def _indexed(value: dict[str, Any]) -> bytes | dict[str, Any]:
    """Return the bytes of `{"0": 1, "1": 2, …}`, whose values are numbers, or the object where a key is no number to JS."""
    if not all(_PARSES_AS_INT.match(key) for key in value):
        return value
    return bytes(map(_byte, _in_order(value).values()))


def _integer(text: str) -> float:
    # The length keeps clear of what Python refuses to convert, too.
    return int(text) if len(text) < 16 else _whole(float(text))


def _real(text: str) -> float:
    return _whole(float(text))


def _whole(number: float) -> float:
    """Return a whole number as an int: JavaScript has one kind of numbers, and 1.0 is written as 1."""
    return int(number) if number.is_integer() else number


def _refuse(constant: str) -> NoReturn:
    raise NotBufferJSON(f"not a BufferJSON text: {constant} is no JSON")


def _again(text: str, error: json.JSONDecodeError) -> Any:
    """Read a text that begins with white space; refuse any other."""
    if text[:1] in {" ", "\t", "\n", "\r"}:
        try:
            return _decoder.decode(text)
        except json.JSONDecodeError as second:
            error = second
    # The decoder's exception has the whole text as an attribute: it stays behind.
    raise NotBufferJSON(f"not a BufferJSON text of {len(text)} characters: {error.msg} at character {error.pos}") from None


_decoder = json.JSONDecoder(object_hook=BufferJSON.object_hook, parse_int=_integer, parse_float=_real, parse_constant=_refuse)
