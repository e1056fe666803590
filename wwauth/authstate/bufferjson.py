"""
BufferJSON: JSON in which bytes are `{"type":"Buffer","data":"<base64>"}`, as Baileys keeps all that it keeps.

Written texts are, byte for byte, what `JSON.stringify(value, BufferJSON.replacer)` gives in Baileys 7. Read are all forms that
any `BufferJSON.reviver` since Baileys 6 turned into bytes: what one of them would have left as an object is bytes here.
"""

from __future__ import annotations

import json
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Mapping
from enum import Enum
from json.encoder import encode_basestring as _quote
from typing import Any, Final, Literal, NoReturn

from ..errors import ConfigurationError, SessionCorrupted
from ._javascript import (
    AFTER_DIGITS,
    LEAST,
    MOST,
    in_order,
    integer,
    lenient_base64,
    number_text,
    parses_as_int,
    real,
    to_byte,
    without_surrogates,
)

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
            why = str(unfit)
        except RecursionError:
            why = f"the value {_TOO_DEEP}"
        else:
            text = "".join(parts)
            return text if text.isascii() else without_surrogates(text)
        # Out here, so that no exception hangs on to frames with values in them.
        raise ConfigurationError(why)

    @staticmethod
    def loads(text: str | bytes | bytearray | memoryview) -> Any:
        """
        Return the object that a text stands for; strict as `JSON.parse`.

        Raises:
            NotBufferJSON: The text is not JSON; a `ValueError` and a `SessionCorrupted`.
        """
        try:
            if not isinstance(text, str):
                text = str(text, "utf-8")
            return _read(text)
        except UnicodeDecodeError as error:
            why = f"(byte {error.start} of {len(text)}): it is not UTF-8"
        except json.JSONDecodeError as error:
            why = f"(character {error.pos} of {len(text)}): {error.msg}"
        except RecursionError:
            why = f"({len(text)} characters): it is nested too deep"
        except TypeError:
            raise ConfigurationError(f"a BufferJSON text is a str or bytes, not {type(text).__name__}") from None
        # Out here, since those exceptions have the whole text among their attributes.
        raise NotBufferJSON(f"no BufferJSON text {why}")

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


_BUFFER = "Buffer"
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
        if min(members) < AFTER_DIGITS:
            members = in_order(members)
    except TypeError:
        members = in_order(_named(members))
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
            elif kind is int and LEAST <= item <= MOST:
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
        out(number_text(value))
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
            name = number_text(key)
        else:
            raise _Unfit(f"has a key of type {type(key).__name__}: use strings")
        if name in named:
            raise _Unfit(f"has two keys that JavaScript calls {name!r:.60}: use strings")
        named[name] = item
    return named


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


def _wrapped(value: dict[str, Any]) -> bytes | None:
    """Return the bytes of `{type: 'Buffer', data | value}` or `{buffer: true, data | value}`, or None."""
    if value.get("type") == _BUFFER or value.get("buffer") is True:
        for name in ("data", "value"):
            data = value.get(name)
            if type(data) is str:
                try:
                    return a2b_base64(data, strict_mode=True)
                except ValueError:
                    return lenient_base64(data)
            if (found := _bytes_of(data)) is not None:
                return found
    return None


def _bytes_of(data: object) -> bytes | None:
    """Return what Node's Buffer.from() makes of a list of numbers or of bytes, or None for anything else."""
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    if not isinstance(data, list | tuple) or not all(type(item) is int or type(item) is float for item in data):
        return None
    return bytes(map(to_byte, data))


def _indexed(value: dict[str, Any]) -> bytes | dict[str, Any]:
    """Return the bytes of `{"0": 1, "1": 2, …}`, whose values are numbers, or the object where a key is no number to JS."""
    if not all(parses_as_int(key) for key in value):
        return value
    return bytes(map(to_byte, in_order(value).values()))


def _refuse(constant: str) -> NoReturn:
    raise NotBufferJSON(f"no BufferJSON text: {constant} is no JSON")


def _read(text: str) -> Any:
    try:
        value, end = _decoder.raw_decode(text)
        if end == len(text):
            return value
    except json.JSONDecodeError:
        pass
    # White space around it, or no JSON: rare enough to look a second time.
    return _decoder.decode(text)


_decoder = json.JSONDecoder(object_hook=BufferJSON.object_hook, parse_int=integer, parse_float=real, parse_constant=_refuse)
