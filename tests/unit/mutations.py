"""Changes of archives, blind ones and ones that know the fields of a zip and the values of an index; drawn by hypothesis."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

# Where the fields of each record lie, by the mark it begins with: offset and size.
FIELDS: dict[bytes, list[tuple[int, int]]] = {
    b"PK\3\4": [(0, 4), (4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)],
    b"PK\1\2": [
        (0, 4),
        (4, 2),
        (8, 2),
        (10, 2),
        (16, 4),
        (20, 4),
        (24, 4),
        (28, 2),
        (30, 2),
        (32, 2),
        (34, 2),
        (38, 4),
        (42, 4),
    ],
    b"PK\5\6": [(0, 4), (4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)],
    b"PK\7\10": [(0, 4), (4, 4), (8, 4), (12, 4)],
}

NAMES = [
    "../x",
    "/x",
    "C:/x",
    "a\\..\\b",
    "Default/IndexedDB/x",
    "NUL",
    "x\0",
    "",
    ".",
    "\udc80",
    "Default/IndexedDB",
    "a" * 600,
]

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from([0, 1, 2, 3, -1, 0xFFFF, 1 << 31, 1 << 63, 1 << 70, 10**10, 10**10 - 1, 0.5, float("inf")])
    | st.sampled_from(NAMES)
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


def changed(draw: Any, data: bytes, other: bytes, *, most: int = 3) -> bytes:
    """Change bytes in one to `most` places; `other` is what pieces are taken from."""
    out = bytearray(data)
    for _ in range(draw(st.integers(1, most))):
        if out:
            _change(draw, out, other)
    return bytes(out)


def _change(draw: Any, out: bytearray, other: bytes) -> None:
    kind = draw(st.sampled_from(["field", "field", "flip", "cut", "delete", "insert", "double", "splice", "zero"]))
    if kind == "field":
        _change_field(draw, out)
        return
    begin = draw(st.integers(0, len(out) - 1))
    length = draw(st.sampled_from([1, 2, 4, 22, 46, 100, 1000]) | st.integers(1, 100))
    end = min(len(out), begin + length)
    if kind == "flip":
        out[begin] ^= draw(st.integers(1, 255))
    elif kind == "cut":
        del out[begin:]
    elif kind == "delete":
        del out[begin:end]
    elif kind == "insert":
        out[begin:begin] = draw(st.binary(min_size=1, max_size=30))
    elif kind == "double":
        at = draw(st.integers(0, len(out)))
        out[at:at] = out[begin:end]
    elif kind == "splice":
        at = draw(st.integers(0, len(other) - 1))
        out[begin:end] = other[at : at + length]
    else:
        out[begin:end] = bytes(end - begin)


def _change_field(draw: Any, out: bytearray) -> None:
    mark = draw(st.sampled_from(sorted(FIELDS)))
    places = [at for at in range(len(out) - 3) if out[at] == 80 and out[at : at + 4] == mark]
    if not places:
        return
    offset, size = draw(st.sampled_from(FIELDS[mark]))
    at = draw(st.sampled_from(places)) + offset
    now = int.from_bytes(out[at : at + size], "little")
    top = (1 << 8 * size) - 1
    values = st.sampled_from([0, 1, 8, 93, top, top // 2, now + 1, now - 1, now * 2, now ^ 1, now ^ 8, len(out)]) | st.integers(
        0, top
    )
    out[at : at + size] = (draw(values) & top).to_bytes(size, "little")


def changed_json(draw: Any, document: Any, *, most: int = 3) -> Any:
    """Change one to `most` values of a document: their type, their value, their place, their number."""
    root = {"": copy.deepcopy(document)}
    for _ in range(draw(st.integers(1, most))):
        parent, key = _choose(draw, root)
        kind = draw(st.sampled_from(["other", "near", "near", "from elsewhere", "delete", "double"]))
        value = parent[key]
        if kind == "near" and isinstance(value, int):
            parent[key] = value + draw(st.sampled_from([-1, 1, 1000, 1 << 32, -value]))
        elif kind == "near" and isinstance(value, str):
            parent[key] = draw(
                st.sampled_from([value + "\n", value[:-1], value.upper(), value + "/..", "0" * len(value), *NAMES])
            )
        elif kind == "from elsewhere":
            there, where = _choose(draw, root)
            parent[key] = copy.deepcopy(there[where])
        elif kind == "delete" and key != "":
            del parent[key]
        elif kind == "double" and isinstance(parent, list):
            parent.insert(draw(st.integers(0, len(parent))), copy.deepcopy(value))
        else:
            parent[key] = draw(JSON)
    return root[""]


def _choose(draw: Any, root: Any) -> tuple[Any, Any]:
    parent, key = root, ""
    while isinstance(parent[key], dict | list) and parent[key] and draw(st.integers(0, 9)):
        parent = parent[key]
        key = draw(st.sampled_from(sorted(parent) if isinstance(parent, dict) else range(len(parent))))
    return parent, key
