"""What of a snapshot has to be stored, and which generations are kept. Everything here blocks: call it from a thread."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ._io import CHUNK, list_tree
from .archive import file_digest, go_on
from .index import StoredFile
from .leveldb import LOG_NAME, MANIFEST_NAME, TABLE_NAME
from .packs import ToStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .index import Pack, StoredGeneration

# Below so much live bytes of all that is stored for them, everything is stored anew.
_WORTH_KEEPING = 0.5

# A restore fetches each pack and joins each segment: beyond these, a backup stores again what lies scattered.
_MOST_SEGMENTS, _MOST_PACKS, _FEWER_PACKS = 32, 64, 32


_EMPTY = hashlib.sha256().hexdigest()


class Digests:
    """
    Remembers the digests of files that never change, so that each is read once.

    A snapshot hard-links Chromium's tables and blobs, so one file is the same inode each time. A copy is another one, and read
    again.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[int, ...], str]] = {}

    def of(self, root: Path, name: str, *, check: Callable[[], None]) -> str:
        """Return the SHA-256 of a file."""
        if not _never_changes(name):
            return file_digest(root / name, check=check)
        stat = (root / name).stat()
        identity = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        known = self._known.get(name)
        if known is None or known[0] != identity:
            known = self._known[name] = identity, file_digest(root / name, check=check)
        return known[1]

    def keep(self, names: set[str]) -> None:
        """Forget all other names."""
        self._known = {name: known for name, known in self._known.items() if name in names}


def _never_changes(name: str) -> bool:
    folder, _, last = name.rpartition("/")
    return TABLE_NAME.fullmatch(last) is not None or ".indexeddb.blob/" in f"{folder}/"


def _only_grows(name: str) -> bool:
    last = name.rpartition("/")[2]
    return LOG_NAME.fullmatch(last) is not None or MANIFEST_NAME.fullmatch(last) is not None


@dataclass(slots=True)
class Plan:
    """
    What to do with a snapshot.

    Attributes:
        keep: Files that are stored already, as they are.
        store: What goes into a new pack.
        changed: The content differs from that of the base.
    """

    keep: list[StoredFile] = field(default_factory=list)
    store: list[ToStore] = field(default_factory=list)
    changed: bool = False

    def packs(self) -> set[Pack]:
        """Return the packs of earlier generations that it builds on."""
        segments = [segment for file in self.keep for segment in file.segments]
        return {segment.pack for segment in segments + [segment for item in self.store for segment in item.before]}


def make_plan(root: Path, base: StoredGeneration | None, digests: Digests, *, check: Callable[[], None] = go_on) -> Plan:
    """Compare the snapshot under `root` with the generation that it follows; None: everything is stored."""
    names = sorted(path.relative_to(root).as_posix() for path in list_tree(root) if path.is_file())
    digests.keep(set(names))
    known = {} if base is None else {file.path: file for file in base.files}
    scattered = set() if base is None else _scattered(base)
    plan = Plan(changed=set(names) != known.keys())
    for name in names:
        check()
        _plan_file(plan, root, name, known.get(name), scattered, digests, check)
    return plan


def _plan_file(
    plan: Plan,
    root: Path,
    name: str,
    old: StoredFile | None,
    scattered: set[Pack],
    digests: Digests,
    check: Callable[[], None],
) -> None:
    item = ToStore(name)
    size = (root / name).stat().st_size
    if size == 0:
        plan.changed |= old is None or old.size > 0
        plan.keep.append(StoredFile(name, 0, _EMPTY, ()))
        return
    if old is not None:
        again = len(old.segments) >= _MOST_SEGMENTS or any(segment.pack in scattered for segment in old.segments)
        if size == old.size and digests.of(root, name, check=check) == old.sha256:
            if again:
                plan.store.append(item)
            else:
                plan.keep.append(old)
            return
        if size > old.size > 0 and not again and _only_grows(name):
            prefix = _prefix(root / name, old.size, check)
            if prefix.hexdigest() == old.sha256:
                item = ToStore(name, old.size, old.segments, prefix)
    plan.changed = True
    plan.store.append(item)


def _prefix(path: Path, size: int, check: Callable[[], None]) -> Any:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while size and (data := file.read(min(CHUNK, size))):
            check()
            digest.update(data)
            size -= len(data)
    return digest


def _scattered(base: StoredGeneration) -> set[Pack]:
    """Return the packs with the fewest bytes in use, when there are too many packs."""
    used: dict[Pack, int] = {}
    for file in base.files:
        for segment in file.segments:
            used[segment.pack] = used.get(segment.pack, 0) + segment.size
    if len(used) < _MOST_PACKS:
        return set()
    return set(sorted(used, key=lambda pack: (used[pack], pack.name))[:-_FEWER_PACKS])


def mostly_dead(base: StoredGeneration) -> bool:
    """Tell whether too little of the packs that a generation needs is still in use: then the next one is a full one."""
    return base.bytes_total < _WORTH_KEEPING * sum(pack.unpacked for pack in base.packs())


def shares(one: StoredGeneration, packs: set[Pack]) -> bool:
    """Tell whether a generation needs one of these packs."""
    return not one.packs().isdisjoint(packs)


def needs_independence(plan: Plan, older: Sequence[StoredGeneration], keep: int) -> bool:
    """Tell whether all that is kept would share a pack with the new generation: then one bad pack would take them all."""
    packs = plan.packs()
    return keep > 1 and len(older) >= keep - 1 and all(shares(generation, packs) for generation in older)


def retain(new: StoredGeneration, older: Sequence[StoredGeneration], keep: int) -> tuple[StoredGeneration, ...]:
    """Return the generations to keep: the newest ones, and among them one that shares no pack with the newest."""
    kept = [new, *older[: keep - 1]]
    packs = new.packs()
    if keep > 1 and all(shares(generation, packs) for generation in kept[1:]):
        independent = next((generation for generation in older if not shares(generation, packs)), None)
        if independent is not None:
            kept[-1] = independent
    return tuple(kept)
