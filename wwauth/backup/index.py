"""
What the index of a session in packs tells: which generations there are, and where the bytes of their files lie.

`indexfile` reads and writes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from .._names import MAX_SESSION, NUMBER_DIGITS, WRITER_DIGITS, pack_name_parts
from ..errors import SessionCorrupted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

LONGEST_SESSION = MAX_SESSION - 2 - WRITER_DIGITS - NUMBER_DIGITS

# How many generations an index may list, and an engine may keep.
MOST_GENERATIONS = 100

Backend = Literal["leveldb", "sqlite", "baileys"]
Kind = Literal["full", "incremental"]


class Unusable(SessionCorrupted):
    """A good index that is not for this session, or not for this version of wwauth: never to be replaced."""


@dataclass(frozen=True, slots=True, order=True)
class PackName:
    """The generation that a pack was written for, and the token of its writer: with the session's name, its name."""

    generation: int
    writer: str

    def of(self, session: str) -> str:
        """Return the name it is stored under."""
        return f"{session}.{self.generation}.{self.writer}"


@dataclass(frozen=True, slots=True)
class Pack:
    """
    One pack in the store.

    Attributes:
        name: What its name is made of.
        size: Bytes, as it was handed to the store.
        sha256: Their digest.
        unpacked: Bytes of all its members together.
    """

    name: PackName
    size: int
    sha256: str
    unpacked: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a file: one member of a pack."""

    pack: Pack
    member: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a generation: its path under the user-data folder, and its segments in order."""

    path: str
    size: int
    sha256: str
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class StoredGeneration:
    """
    One backup that can be restored.

    Attributes:
        number: Its number; later ones have larger numbers.
        writer: The token of the engine that wrote it.
        lineage: The login it belongs to: another token for each device that was linked.
        created: When it was committed, by the clock of its writer: to be shown, never to be compared. None for a
            plain zip.
        kind: "full": all its bytes lie in packs written with it; "incremental": some lie in earlier ones.
        backend: How the browser stored: "leveldb" or "sqlite"; "baileys": it is an auth state's folder.
        chromium: The major version of the browser that wrote the profile, or None when that was not known.
        recipients: Digest of the public keys that its packs were encrypted for; None when they were not.
        content: Digest over names, sizes and bytes of all files; empty when another program wrote it.
        files: What it consists of; empty for a plain zip, which tells only when it is unpacked.
        bytes_total: The size of its files together.
    """

    number: int
    writer: str
    lineage: str
    created: datetime | None
    kind: Kind
    backend: Backend
    chromium: int | None
    recipients: str | None
    content: str
    files: tuple[StoredFile, ...] = field(repr=False)
    bytes_total: int

    def packs(self) -> set[Pack]:
        """Return the packs that its files lie in."""
        return {segment.pack for file in self.files for segment in file.segments}


@dataclass(frozen=True, slots=True)
class Index:
    """
    What a session's name holds.

    Attributes:
        session: The session's name, so that no index is taken for another session's.
        generations: Newest first.
        garbage: Packs that may lie in the store and that no generation needs, and since when, by the clock of whoever saw it;
            None: one that is about to be written.
        fence: The fence of the lease under which it was written: it grows with each holder. 0: there was no lease.
    """

    session: str
    generations: tuple[StoredGeneration, ...] = ()
    garbage: Mapping[PackName, datetime | None] = field(default_factory=dict)
    fence: int = 0

    @property
    def newest(self) -> StoredGeneration | None:
        """The newest generation, or None."""
        return self.generations[0] if self.generations else None

    def packs(self) -> set[Pack]:
        """Return the packs that a generation needs."""
        return {pack for generation in self.generations for pack in generation.packs()}

    def names(self) -> set[PackName]:
        """Return the names of all packs that may be there."""
        return self.live() | self.garbage.keys()

    def live(self) -> set[PackName]:
        """Return the names of the packs that a generation needs."""
        return referenced(self.generations)


def split_pack_name(name: str) -> tuple[str, PackName] | None:
    """Return the session and the pack that a stored name stands for; None: it is no pack's name."""
    parts = pack_name_parts(name)
    return None if parts is None else (parts[0], PackName(int(parts[1]), parts[2]))


def referenced(generations: Iterable[StoredGeneration]) -> set[PackName]:
    """Return the names of the packs that these generations need."""
    return {pack.name for generation in generations for pack in generation.packs()}
