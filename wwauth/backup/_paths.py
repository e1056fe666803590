"""Names from outside that are to become paths of a profile: what is refused here is no path on some system."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Far more than a profile needs, and together with the folder it lies in less than the shortest limit, macOS's 1024.
_LONGEST_PATH, _LONGEST_PART, _DEEPEST = 512, 255, 32

# How much of a name a message shows.
_SHOWN = 120

_DRIVE = re.compile(r"[A-Za-z]:")
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(?:\..*)?", re.IGNORECASE)

# Control characters, halves of characters, and those that some file systems leave out when they compare names.
_NO_CHARACTERS = {"Cc", "Cs", "Cf", "Zl", "Zp"}


class HostileArchive(ValueError):
    """The archive is damaged or made to harm; the message says what and where. Never leaves this package."""


def shown(name: str) -> str:
    """Return a name as a message may show it: on one line, and not longer than one."""
    return repr(name) if len(name) <= _SHOWN else f"{name[:_SHOWN]!r}… ({len(name)} characters)"


def check_path(path: str, name: str | None = None) -> None:
    """Refuse a path (with `/`) that would not lie in the destination on every system; `name` is what the message shows."""
    label = shown(path if name is None else name)
    if path.startswith("/") or _DRIVE.match(path):
        raise HostileArchive(f"{label} is an absolute path")
    # Counted before it is taken apart: 64 kB of slashes are as many folders.
    if len(path) > _LONGEST_PATH or path.count("/") >= _DEEPEST:
        raise HostileArchive(f"{label} is longer or deeper than some systems allow")
    for part in path.split("/"):
        _check_part(part, label)


def _check_part(part: str, label: str) -> None:
    if part in {"", ".", ".."}:
        raise HostileArchive(f"{label} leads out of the destination")
    if any(unicodedata.category(c) in _NO_CHARACTERS for c in part) or any(c in part for c in '\\:*?"<>|'):
        raise HostileArchive(f"{label} has a character that no file of a profile has")
    if part.endswith((".", " ")) or _DEVICE.fullmatch(part) or len(part.encode()) > _LONGEST_PART:
        raise HostileArchive(f"{label} is a name that some systems take for another one")


@dataclass(slots=True)
class _Node:
    number: int
    spelling: str
    is_dir: bool
    named: bool = False


def check_collisions(paths: Iterable[tuple[str, bool]], most: int) -> None:
    """
    Refuse paths (each with "it is a folder") of which two are one on some system, or one is both a file and a folder.

    More than `most` of them are refused as well, the folders counted that a path needs and nobody names: each would be made.
    """
    nodes: dict[tuple[int, str], _Node] = {}
    for whole, is_dir in paths:
        parent = 0
        *folders, last = whole.split("/")
        for part in folders:
            parent = _visit(nodes, parent, part, is_dir=True, whole=whole).number
        node = _visit(nodes, parent, last, is_dir=is_dir, whole=whole)
        if node.named:
            raise HostileArchive(f"{shown(whole)} is there twice")
        node.named = True
        if len(nodes) > most:
            raise HostileArchive(f"more than {most} files and folders")


def _visit(nodes: dict[tuple[int, str], _Node], parent: int, part: str, *, is_dir: bool, whole: str) -> _Node:
    key = (parent, _fold(part))
    node = nodes.get(key)
    if node is None:
        node = nodes[key] = _Node(len(nodes) + 1, part, is_dir)
    elif node.spelling != part:
        raise HostileArchive(f"{shown(whole)} collides with {node.spelling!r}: they differ only in case or composition")
    elif node.is_dir != is_dir:
        raise HostileArchive(
            f"{shown(whole)} collides with another: {part!r} is a file there and a folder here, or the reverse"
        )
    return node


def _fold(part: str) -> str:
    """Return what is equal for all names that are one on a file system that heeds neither case nor composition."""
    if part.isascii():
        return part.lower()
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", part).casefold())
