"""
The file of an index: one JSON text, `wwauth-index.json`, in a zip of its own, stored under the session's name.

Saving it is the commit of a backup. `docs/format.md` describes it. What is read is checked whole before any of it is used: it
comes from outside. Everything here blocks: call it from a thread.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, BinaryIO, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from .._names import NUMBER_DIGITS, WRITER_DIGITS
from ..errors import SessionCorrupted
from ._io import write_private
from ._paths import HostileArchive, check_collisions, check_path, shown
from ._zipread import Limits, read_directory, read_entry
from .archive import holds_login, is_auth_state_file
from .index import (
    MOST_GENERATIONS,
    Backend,
    Index,
    Kind,
    Pack,
    PackName,
    Segment,
    StoredFile,
    StoredGeneration,
    Unusable,
)

if TYPE_CHECKING:
    from pathlib import Path

INDEX_FILE = "wwauth-index.json"
FORMAT = 1

# An index is mostly digests, which hardly shrink: what shrinks far more is made to fill the memory.
_INDEX_LIMITS = Limits(entries=1, bytes_total=128 << 20, ratio=40, free=1 << 20)
_PROFILE_LIMITS = Limits()

# So many bytes of JSON text at least for each object or list in it: empty ones take thirty times their text in memory.
_BYTES_EACH = 16


def write_index(index: Index, path: Path) -> bytes:
    """Write the zip of an index to the new file `path` (0600), and return its bytes."""
    text = _dump(index)
    entry = zipfile.ZipInfo(INDEX_FILE, (1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(entry, text)
    write_private(path, data.getvalue())
    return data.getvalue()


def is_index(path: Path, *, label: str | None = None) -> bool:
    """Tell an index from a plain zip of a profile by its content; `SessionCorrupted`: it is neither, but damaged."""
    try:
        with path.open("rb") as file:
            return any(entry.path == INDEX_FILE for entry in read_directory(file, _PROFILE_LIMITS).entries)
    except HostileArchive as exc:
        raise SessionCorrupted(f"{label or path.name} is neither an index nor a whole archive of a profile: {exc}") from exc


def read_index(path: Path, *, session: str) -> Index:
    """Read the zip of an index; `SessionCorrupted` says what is wrong with it."""
    try:
        with path.open("rb") as file:
            text = _read_text(file)
        return parse_index(text, session=session)
    except HostileArchive as exc:
        raise SessionCorrupted(f"the index of {session} cannot be used: {exc}") from exc


def _read_text(file: BinaryIO) -> bytes:
    entries = read_directory(file, _INDEX_LIMITS).entries
    if [entry.path for entry in entries] != [INDEX_FILE]:
        raise HostileArchive(f"it does not hold {INDEX_FILE} alone")
    return b"".join(read_entry(file, entries[0]))


# The models below are the JSON text as it stands; the classes above are what it means.

_T = TypeVar("_T")

# The first thing that is wrong is enough: a list of millions would make millions of complaints.
_List = Annotated[list[_T], FailFast()]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Token = Annotated[str, Field(pattern=rf"^[0-9a-f]{{{WRITER_DIGITS}}}$")]
_Number = Annotated[int, Field(ge=1, lt=10**NUMBER_DIGITS)]
_Size = Annotated[int, Field(ge=0, lt=1 << 63)]
_Time = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$")]


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _PackModel(_Model):
    generation: _Number
    writer: _Token
    size: _Size
    sha256: _Sha256
    unpacked: _Size


class _SegmentModel(_Model):
    pack: Annotated[int, Field(ge=0)]
    member: Annotated[str, Field(pattern=r"^(?:0|[1-9][0-9]{0,6})$")]
    size: Annotated[int, Field(ge=1, lt=1 << 63)]
    sha256: _Sha256


class _FileModel(_Model):
    path: str
    size: _Size
    sha256: _Sha256
    segments: _List[_SegmentModel]


class _GenerationModel(_Model):
    number: _Number
    writer: _Token
    lineage: _Token
    created: _Time
    kind: Kind
    backend: Backend
    chromium: Annotated[int, Field(ge=1, lt=100_000)] | None
    recipients: _Sha256 | None
    content: _Sha256
    files: _List[Annotated[int, Field(ge=0)]]


class _GarbageModel(_Model):
    generation: _Number
    writer: _Token
    since: _Time | None = None


class _IndexModel(_Model):
    format: Annotated[int, Field(ge=FORMAT, le=FORMAT)]  # Literal[1] takes true as well
    session: str
    packs: _List[_PackModel]
    files: _List[_FileModel]
    generations: Annotated[_List[_GenerationModel], Field(max_length=MOST_GENERATIONS)]
    garbage: _List[_GarbageModel]
    fence: _Size = 0


def _dump(index: Index) -> bytes:
    packs: dict[Pack, int] = {}
    files: dict[StoredFile, int] = {}
    for generation in reversed(index.generations):
        for file in generation.files:
            files.setdefault(file, len(files))
            for segment in file.segments:
                packs.setdefault(segment.pack, len(packs))
    document = {
        "format": FORMAT,
        "session": index.session,
        "packs": [{**asdict(p.name), "size": p.size, "sha256": p.sha256, "unpacked": p.unpacked} for p in packs],
        "files": [_dump_file(file, packs) for file in files],
        "generations": [_dump_generation(generation, files) for generation in index.generations],
        "garbage": [{**asdict(name), "since": since and _text(since)} for name, since in sorted(index.garbage.items())],
        "fence": index.fence,
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _dump_file(file: StoredFile, packs: dict[Pack, int]) -> dict[str, object]:
    segments = [{"pack": packs[s.pack], "member": s.member, "size": s.size, "sha256": s.sha256} for s in file.segments]
    return {"path": file.path, "size": file.size, "sha256": file.sha256, "segments": segments}


def _dump_generation(generation: StoredGeneration, files: dict[StoredFile, int]) -> dict[str, object]:
    return {
        "number": generation.number,
        "writer": generation.writer,
        "lineage": generation.lineage,
        "created": _text(generation.created or datetime.now(UTC)),
        "kind": generation.kind,
        "backend": generation.backend,
        "chromium": generation.chromium,
        "recipients": generation.recipients,
        "content": generation.content,
        "files": [files[file] for file in generation.files],
    }


def _text(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _time(text: str, what: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z")
    except ValueError:
        raise HostileArchive(f"{what} {text!r}, which is no time") from None


def parse_index(text: bytes, *, session: str) -> Index:
    """Read the JSON text of an index; `HostileArchive` says what is wrong with it."""
    if text.count(b"{") + text.count(b"[") > 64 + len(text) // _BYTES_EACH:
        raise HostileArchive(f"{INDEX_FILE} is almost all brackets, which no index is")
    try:
        document = json.loads(text.decode("utf-8"), object_pairs_hook=_no_key_twice)
    except HostileArchive:
        raise
    except (ValueError, RecursionError) as exc:
        raise HostileArchive(f"{INDEX_FILE} is no JSON text: {exc}") from None
    found = document.get("format") if isinstance(document, dict) else None
    if isinstance(found, int) and not isinstance(found, bool) and found > FORMAT:
        raise Unusable(f"the index of {session} has format {str(found)[:20]}, and this wwauth knows {FORMAT}: update it")
    try:
        model = _IndexModel.model_validate(document)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise HostileArchive(f"{INDEX_FILE}: {shown(where)}: {first['msg']}") from None
    if model.session != session:
        raise Unusable(f"what is stored as {session} is the index of {model.session[:200]!r}: store it under its own name")
    return _resolve(model)


def _no_key_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Make an object of its pairs; two of one key mean one thing to this reader and another to the next."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise HostileArchive(f"{INDEX_FILE} has a key twice in one object")
    return found


def _resolve(model: _IndexModel) -> Index:
    packs = [Pack(PackName(p.generation, p.writer), p.size, p.sha256, p.unpacked) for p in model.packs]
    if len({pack.name for pack in packs}) != len(packs):
        raise HostileArchive("a pack is listed twice")
    members: dict[tuple[int, str], tuple[int, str]] = {}
    files = [_resolve_file(file, packs, members) for file in model.files]
    _check_packs(packs, members)
    checked: set[tuple[str, ...]] = set()
    generations = tuple(_resolve_generation(generation, files, checked) for generation in model.generations)
    numbers = [generation.number for generation in generations]
    if sorted(set(numbers), reverse=True) != numbers:
        raise HostileArchive(f"its generations {numbers[:10]} are not in order")
    garbage = {PackName(g.generation, g.writer): _since(g) for g in model.garbage}
    index = Index(model.session, generations, garbage, model.fence)
    if both := index.live() & garbage.keys():
        raise HostileArchive(f"pack {min(both).of(index.session)} is needed and garbage")
    return index


def _since(model: _GarbageModel) -> datetime | None:
    return None if model.since is None else _time(model.since, "a pack is garbage since")


def _resolve_file(file: _FileModel, packs: list[Pack], members: dict[tuple[int, str], tuple[int, str]]) -> StoredFile:
    check_path(file.path)
    segments = []
    for s in file.segments:
        if s.pack >= len(packs):
            raise HostileArchive(f"{file.path!r} names pack {s.pack}, and {len(packs)} are listed")
        if members.setdefault((s.pack, s.member), (s.size, s.sha256)) != (s.size, s.sha256):
            raise HostileArchive(f"member {s.member} of pack {s.pack} is described in two ways")
        segments.append(Segment(packs[s.pack], s.member, s.size, s.sha256))
    if sum(segment.size for segment in segments) != file.size:
        raise HostileArchive(f"the segments of {file.path!r} do not have the {file.size} bytes of the file")
    if len(segments) == 1 and segments[0].sha256 != file.sha256:
        raise HostileArchive(f"{file.path!r} and its only segment have different digests")
    return StoredFile(file.path, file.size, file.sha256, tuple(segments))


def _check_packs(packs: list[Pack], members: dict[tuple[int, str], tuple[int, str]]) -> None:
    promised = [0] * len(packs)
    for (pack, _), (size, _) in members.items():
        promised[pack] += size
    for listed, size in zip(packs, promised, strict=True):
        # More than is used may lie there: what an earlier generation needed.
        if listed.unpacked < size:
            raise HostileArchive(f"pack {listed.name.generation}.{listed.name.writer} has fewer bytes than are taken from it")
        _check_size(f"pack {listed.name.generation}.{listed.name.writer}", listed.unpacked, listed.size)


def _check_size(what: str, unpacked: int, packed: int) -> None:
    try:
        _PROFILE_LIMITS.check(unpacked, packed)
    except HostileArchive as exc:
        raise HostileArchive(f"{what}: {exc}") from None


def _resolve_generation(model: _GenerationModel, files: list[StoredFile], checked: set[tuple[str, ...]]) -> StoredGeneration:
    """Return a generation; `checked` are the lists of paths that were found good, since most have the same ones."""
    if not model.files or max(model.files) >= len(files):
        raise HostileArchive(f"generation {model.number} has no files, or names one that is not listed")
    if len(model.files) > _PROFILE_LIMITS.entries:
        raise HostileArchive(f"generation {model.number} has {len(model.files)} files, {_PROFILE_LIMITS.entries} are allowed")
    chosen = tuple(files[number] for number in model.files)
    paths = tuple(file.path for file in chosen)
    fits = is_auth_state_file if model.backend == "baileys" else holds_login
    if (stray := next((path for path in paths if not fits(path)), None)) is not None:
        raise HostileArchive(f"{shown(stray)} is no file of a login")
    if paths not in checked:
        check_collisions(((path, False) for path in paths), _PROFILE_LIMITS.entries)
        checked.add(paths)
    total = sum(file.size for file in chosen)
    packs = {segment.pack for file in chosen for segment in file.segments}
    _check_size(f"generation {model.number}", total, sum(pack.size for pack in packs))
    created = _time(model.created, f"generation {model.number} was created at")
    if any(pack.name.generation > model.number for pack in packs):
        raise HostileArchive(f"generation {model.number} names a pack that is newer than itself")
    return StoredGeneration(
        number=model.number,
        writer=model.writer,
        lineage=model.lineage,
        created=created,
        kind=model.kind,
        backend=model.backend,
        chromium=model.chromium,
        recipients=model.recipients,
        content=model.content,
        files=chosen,
        bytes_total=total,
    )
