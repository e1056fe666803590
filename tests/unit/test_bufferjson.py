"""BufferJSON against what real Baileys wrote and read: `tests/fixtures/baileys` and its vectors."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wwauth.authstate.bufferjson import UNDEFINED, BufferJSON, NotBufferJSON
from wwauth.errors import ConfigurationError, SessionCorrupted

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDERS = Path(__file__).parents[1] / "fixtures" / "baileys"
LEGACY = FOLDERS / "06-legacy-encodings"
VECTORS = json.loads((FOLDERS / "vectors.json").read_text("utf-8"))

# What only Baileys 6 took for bytes, and Baileys 7.0.0-rc14 leaves as it is.
LEGACY_FORMS = {
    '{"type":"Buffer","data":[1,2,3]}': b"\1\2\3",
    '{"type":"Buffer","data":{"0":1,"1":2}}': b"\1\2",
    '{"buffer":true,"data":"AQID"}': b"\1\2\3",
    '{"type":"Buffer","value":"AQID"}': b"\1\2\3",
}


def files() -> list[Path]:
    return [path for path in sorted(FOLDERS.glob("*/*.json")) if path.parent != LEGACY]


def test_every_file_of_baileys_is_written_as_it_was_read() -> None:
    assert len(files()) > 200
    for path in files():
        text = path.read_bytes()
        assert BufferJSON.dumps(BufferJSON.loads(text)).encode() == text, path


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_every_legacy_form_of_a_key_is_read_as_bytes(number: int) -> None:
    pair = BufferJSON.loads((LEGACY / f"pre-key-{number}.json").read_bytes())

    assert pair == {"private": b"\1" * 32, "public": b"\2" * 32}
    assert BufferJSON.dumps(pair) == (
        '{"private":{"type":"Buffer","data":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="},'
        '"public":{"type":"Buffer","data":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="}}'
    )


@pytest.mark.parametrize("name", ["creds.json", "session-1.0.json"])
def test_an_empty_or_torn_file_is_refused(name: str) -> None:
    with pytest.raises(NotBufferJSON) as caught:
        BufferJSON.loads((LEGACY / name).read_bytes())

    assert isinstance(caught.value, SessionCorrupted)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("vector", VECTORS["numbers"], ids=lambda vector: vector["json"])
def test_numbers_are_javascripts(vector: dict[str, str]) -> None:
    number = struct.unpack(">d", bytes.fromhex(vector["f64be"]))[0]

    assert BufferJSON.dumps(number) == vector["json"]
    assert BufferJSON.dumps({"n": [number]}) == f'{{"n":[{vector["json"]}]}}'
    if number.is_integer():
        assert BufferJSON.dumps({"n": int(number)}) == f'{{"n":{vector["json"]}}}'
    assert BufferJSON.loads(vector["json"]) == number
    assert BufferJSON.dumps(BufferJSON.loads(vector["json"])) == vector["json"]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (float("nan"), "null"),
        (float("-inf"), "null"),
        (10**400, "null"),
        (2**53 + 1, "9007199254740992"),
        (-(2**63), "-9223372036854776000"),
        (10**21, "1e+21"),
        (-0.0, "0"),
        (True, "true"),
    ],
)
def test_numbers_that_json_or_doubles_have_not(number: float, text: str) -> None:
    assert BufferJSON.dumps([number, {"n": number}]) == f'[{text},{{"n":{text}}}]'


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("9007199254740993", 2**53),
        ("1e2", 100),
        ("-0", 0),
        ("1.0", 1),
        ("1e400", float("inf")),
        ("1" + "0" * 5000, float("inf")),
    ],
)
def test_numbers_are_read_as_the_doubles_that_they_are(text: str, number: float) -> None:
    read = BufferJSON.loads(text)

    assert read == number
    assert type(read) is type(number)


@pytest.mark.parametrize("vector", VECTORS["strings"], ids=lambda vector: vector["utf16be"] or "empty")
def test_strings_are_javascripts(vector: dict[str, str]) -> None:
    text = bytes.fromhex(vector["utf16be"]).decode("utf-16-be", "surrogatepass")

    written = BufferJSON.dumps(text)

    assert written.encode().hex() == vector["jsonUtf8Hex"]
    assert BufferJSON.loads(written) == text
    assert BufferJSON.dumps({text: [text]}) == f"{{{written}:[{written}]}}"


def test_the_halves_of_a_character_are_written_as_one() -> None:
    assert BufferJSON.dumps("\ud83d\ude00\ud83d") == '"\U0001f600\\ud83d"'


def test_keys_that_are_array_indexes_come_first() -> None:
    members = {"b": 1, "10": 2, "a": 3, "2": 4, "01": 5, "-1": 6, "4294967294": 7, "4294967295": 8, "1.5": 9, "": 10}

    assert BufferJSON.dumps(members) == VECTORS["objects"][0]
    assert (
        BufferJSON.dumps({int(key) if key == "10" else key: value for key, value in members.items()}) == VECTORS["objects"][0]
    )


def test_undefined_is_left_out_of_objects_and_null_in_arrays() -> None:
    members = {"x": UNDEFINED, "y": None, "z": (UNDEFINED, float("nan"))}

    assert BufferJSON.dumps(members) == VECTORS["objects"][1]
    assert BufferJSON.dumps({"a": {"b": UNDEFINED}}) == '{"a":{}}'
    assert not UNDEFINED
    assert repr(UNDEFINED) == "UNDEFINED"


def test_bytes_are_buffers() -> None:
    members = {"buf": bytes([0, 1, 2, 255]), "u8": bytearray([9]), "nest": {"b": (memoryview(b""),)}}

    assert BufferJSON.dumps(members) == VECTORS["objects"][2]
    assert BufferJSON.dumps(b"\1") == '{"type":"Buffer","data":"AQ=="}'
    assert BufferJSON.dumps({"every": memoryview(b"abcd")[::2]}) == '{"every":{"type":"Buffer","data":"YWM="}}'


def test_any_mapping_is_an_object() -> None:
    assert BufferJSON.dumps(MappingProxyType({"a": MappingProxyType({})})) == '{"a":{}}'


@pytest.mark.parametrize("vector", VECTORS["reviver"], ids=lambda vector: vector["json"])
def test_objects_are_revived(vector: dict[str, Any]) -> None:
    read = BufferJSON.loads(vector["json"])

    if vector["json"] in LEGACY_FORMS:
        assert read == LEGACY_FORMS[vector["json"]]
        return
    assert read == _value(vector["result"])
    assert BufferJSON.dumps(read) == vector["reencoded"]


def _value(told: dict[str, Any]) -> Any:
    """Return the value that a vector describes."""
    if "buffer" in told:
        return bytes.fromhex(told["buffer"])
    if "object" in told:
        return {key: _value(item) for key, item in told["object"]}
    if "array" in told:
        return [_value(item) for item in told["array"]]
    return told["value"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"buffer":true,"value":[1,256,-1,1.9]}', b"\1\0\xff\1"),
        ('{"buffer":1,"data":"AQID"}', {"buffer": 1, "data": "AQID"}),
        ('{"type":"Buffer"}', {"type": "Buffer"}),
        ('{"type":"Buffer","data":["1"]}', {"type": "Buffer", "data": ["1"]}),
        ('{"type":"Buffer","data":"A\\ud83dQID"}', b""),  # Node sees the `=` in the character's low byte
        ('{"\\u2003\\ufeff5":1e400}', b"\0"),
        ('{"\\u001c5":1,"x":2}', {"\x1c5": 1, "x": 2}),
        ('{"\\u0663":1}', {"\u0663": 1}),
        ('{"0":true}', {"0": True}),
        ("[1,2]", [1, 2]),
        ('{"a":1,"b":2,"a":3}', {"a": 3, "b": 2}),
        ('{"__proto__":{"x":null}}', {"__proto__": {"x": None}}),
        (" \n[ ]\t", []),
    ],
)
def test_texts_that_the_vectors_have_not(text: str, value: object) -> None:
    read = BufferJSON.loads(text)

    assert read == value
    if isinstance(value, dict):
        assert list(read) == list(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "NaN",
        '{"a":-Infinity}',
        "[1,]",
        "01",
        "1.",
        '"\n"',
        "{'a':1}",
        '{"a":1}x',
        "\ufeff1",
        "[" * 100_000,
        b"\xff",
        b'"\xed\xa0\x80"',
    ],
)
def test_what_is_no_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(NotBufferJSON):
        BufferJSON.loads(text)


def test_what_is_nested_too_deep_is_refused() -> None:
    for text in ("[" * 100_000, " " + "[" * 100_000, b'{"a":' * 100_000):
        with pytest.raises(NotBufferJSON, match="nested too deep"):
            BufferJSON.loads(text)


def test_a_refusal_has_nothing_of_the_text() -> None:
    with pytest.raises(NotBufferJSON) as caught:
        BufferJSON.loads('{"private":"c2VjcmV0')

    assert str(caught.value) == "no BufferJSON text (character 11 of 20): Unterminated string starting at"
    assert caught.value.__context__ is None


def test_a_text_is_str_or_bytes() -> None:
    assert BufferJSON.loads(memoryview(b'"x"')) == BufferJSON.loads(bytearray(b'"x"')) == "x"
    with pytest.raises(ConfigurationError):
        BufferJSON.loads(5)  # type: ignore[arg-type]


@pytest.mark.parametrize("data", ["AQID", [1, 2, 3], b"\1\2\3", bytearray(b"\1\2\3")])
def test_the_json_form_of_bytes_is_not_encoded_twice(data: object) -> None:
    assert BufferJSON.dumps([{"type": "Buffer", "data": data}]) == '[{"type":"Buffer","data":"AQID"}]'


@pytest.mark.parametrize(
    "members", [{}, {"data": "secret!"}, {"data": ["1"]}, {"data": 1}, {"data": "AQID", "more": 1}, {"value": "AQID"}]
)
def test_what_looks_like_bytes_and_is_not_is_refused(members: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=r"^the value at \['a'\]\[1\] has the type 'Buffer'") as caught:
        BufferJSON.dumps({"a": [0, {"type": "Buffer", **members}]})

    assert "secret" not in str(caught.value)


def _loop() -> dict[str, Any]:
    loop: dict[str, Any] = {}
    loop["a"] = [loop]
    return loop


def _deep() -> list[Any]:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    return deep


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: {"a": [{"b": {1}}]}, r"the value at \['a'\]\[0\]\['b'\] is of type set"),
        (object, r"the value is of type object"),
        (lambda: UNDEFINED, r"the value is of type Undefined"),
        (lambda: {"a": {1.5: 0}}, r"the value at \['a'\] has a key of type float"),
        (lambda: {True: 0}, r"the value has a key of type bool"),
        (lambda: {"a": 0, b"b": 1}, r"the value has a key of type bytes"),
        (lambda: {1: 0, "1": 1}, r"the value has two keys that JavaScript calls '1'"),
        (_loop, r"the value at \['a'\]\[0\]\['a'\]\[0\]\['a'\]\[0\]… contains itself"),
        (_deep, r"the value at \[0\]\[0\]\[0\]\[0\]\[0\]\[0\]… contains itself or is nested too deep"),
    ],
)
def test_what_has_no_json_form_is_refused_with_its_place(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{message}") as caught:
        BufferJSON.dumps(make())

    assert len(str(caught.value)) < 200


def test_the_hooks_of_json() -> None:
    value = {"a": [b"\1\2", MappingProxyType({"b": bytearray(b"")})]}

    text = json.dumps(value, default=BufferJSON.default, separators=(",", ":"))

    assert text == BufferJSON.dumps(value)
    assert json.loads(text, object_hook=BufferJSON.object_hook) == {"a": [b"\1\2", {"b": b""}]}
    with pytest.raises(ConfigurationError, match="of type set"):
        json.dumps({1, 2}, default=BufferJSON.default)


# No object of numbers alone: those are read as bytes, as in Baileys.
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.binary(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4).map(lambda d: {**d, "t": ""})
    ),
    max_leaves=12,
)


@given(_VALUES)
def test_what_is_written_is_read_again(value: object) -> None:
    text = BufferJSON.dumps(value)

    assert BufferJSON.loads(text) == value
    assert BufferJSON.dumps(BufferJSON.loads(text.encode())) == text


@given(st.floats())
def test_every_number_is_read_as_it_was(number: float) -> None:
    text = BufferJSON.dumps(number)

    assert BufferJSON.loads(text) == (number if number - number == 0 else None)
