"""
The folder after a power loss: what the disk may have lost of what was not flushed, at any moment, in any combination.

The calls that change the folder are watched. Of what was renamed or deleted since the last flush of the folder's names any
part may be undone; of what was written since the last flush of a file any part may be missing. What `save_creds` and `set` had
returned by then has to be there at the next opening, and of what was on its way all or nothing.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from wwauth.authstate import BufferJSON, FolderAuthStateStore, use_auth_state
from wwauth.authstate import _journal as journal_module

if TYPE_CHECKING:
    from collections.abc import Callable

    Model = dict[str, Any]

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc which file a descriptor is")

IDS = [str(number) for number in range(6)]


@dataclass
class File:
    """What a name may lead to after a power loss."""

    data: bytes
    flushed: bool = False

    def left(self, chance: random.Random) -> bytes:
        return self.data if self.flushed else chance.choice([b"", self.data[: len(self.data) // 2], self.data])


@dataclass
class Image:
    """What may be on the disk, and what was promised by then."""

    files: dict[str, bytes]
    promised: list[Model]


@dataclass
class Disk:
    """Watches the calls that change a folder, and imagines power losses between them."""

    folder: Path
    chance: random.Random
    rate: float
    names: dict[str, list[File | None]] = field(default_factory=dict)
    flushed: set[str] = field(default_factory=set)
    journal: bytes = b""
    images: list[Image] = field(default_factory=list)
    promised: list[Model] = field(default_factory=list)

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        for name in ("open", "write", "ftruncate", "fsync", "fdatasync", "replace", "rename", "unlink"):
            patch.setattr(os, name, self._watched(name, getattr(os, name)))

    def _watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        note = getattr(self, f"_{name}", None)

        def watched(what: Any, *args: Any, **kwargs: Any) -> Any:
            path = str(Path(f"/proc/self/fd/{what}").readlink()) if isinstance(what, int) else os.fspath(what)
            if not path.startswith(str(self.folder)):
                return call(what, *args, **kwargs)
            if self.promised and self.chance.random() < self.rate:
                self.images.append(Image(self._image(), list(self.promised)))
            data = (self.folder / path).read_bytes() if name in {"replace", "rename"} else b""
            result = call(what, *args, **kwargs)
            if note is not None:
                note(path, data, *args)
            return result

        return watched

    def _open(self, path: str, _: bytes, flags: int, *__: object) -> None:
        name = os.path.basename(path)  # noqa: PTH119
        if name == journal_module.NAME and flags & os.O_CREAT and self.names.setdefault(name, [None])[-1] is None:
            self.names[name].append(File(b""))
            self.journal = b""

    def _replace(self, path: str, data: bytes, target: Any) -> None:
        name = os.path.basename(target)  # noqa: PTH119
        self.names.setdefault(name, [None]).append(File(data, path in self.flushed))

    _rename = _replace

    def _unlink(self, path: str, _: bytes) -> None:
        name = os.path.basename(path)  # noqa: PTH119
        if not name.endswith(".tmp"):
            self.names.setdefault(name, [None]).append(None)

    def _fsync(self, path: str, _: bytes) -> None:
        if path == str(self.folder):
            self.names = {name: found[-1:] for name, found in self.names.items()}
            return
        self.flushed.add(path)
        found = self.names.get(os.path.basename(path), [None])[-1]  # noqa: PTH119
        if path.endswith(journal_module.NAME):
            self.journal = (self.folder / journal_module.NAME).read_bytes()
        elif found is not None:
            found.flushed = True

    _fdatasync = _fsync

    def _image(self) -> dict[str, bytes]:
        files = {}
        for name, found in self.names.items():
            file = self.chance.choice(found)
            if file is not None:
                files[name] = self._journal_left() if name == journal_module.NAME else file.left(self.chance)
        return files

    def _journal_left(self) -> bytes:
        path = self.folder / journal_module.NAME
        now, kept = path.read_bytes() if path.exists() else b"", self.journal
        if not now.startswith(kept[:1]):
            return self.chance.choice([now, kept])
        # Each mark is one byte that was written in place, and what was appended may be there in part.
        marks = bytes(self.chance.choice(pair) for pair in zip(kept, now, strict=False))
        return marks + self.chance.choice([b"", kept[len(now) :], now[len(kept) :][:50], now[len(kept) :]])


class Walk:
    """A login that is written, closed, killed and opened again, with what it has promised."""

    def __init__(self, disk: Disk) -> None:
        self.disk, self.chance = disk, disk.chance
        self.model: Model = {}

    async def open(self) -> None:
        self.store = FolderAuthStateStore(self.disk.folder)
        self.state, self.save_creds = await use_auth_state(self.store)
        if not self.model:
            await self.save_creds()
            self.model = {"creds": 0}
            self.disk.promised = [self.model]

    async def step(self) -> None:
        after = dict(self.model)
        # Few values, so that what was there before comes back.
        values = {id_: self.chance.choice([{"v": 1}, {"v": 2}, None]) for id_ in self.chance.sample(IDS, 2)}
        kind = self.chance.choice(["set", "set", "set", "save", "both", "both", "close", "kill"])
        if kind in {"set", "both"}:
            after.update({id_: value for id_, value in values.items() if value})
            for id_ in [id_ for id_, value in values.items() if not value]:
                after.pop(id_, None)
        if kind in {"save", "both"}:
            after["creds"] = self.state.creds["accountSyncCounter"] = self.chance.randrange(3)
        self.disk.promised = [self.model, after]
        if kind == "set":
            await self.state.keys.set({"session": values})
        elif kind == "save":
            await self.save_creds()
        elif kind == "both":
            async with self.state.keys.transaction("k"):
                await self.state.keys.set({"session": values})
                await self.save_creds()
        else:
            if kind == "kill":
                self._kill()
            await self.state.close()
            await self.open()
        self.model = after
        self.disk.promised = [self.model]

    def _kill(self) -> None:
        # What the end of a process does: nothing of its own, and its lock and descriptors are gone.
        lock, journal = self.store._lock, self.store._journal
        assert lock is not None
        assert journal is not None
        os.close(journal._file)
        self.store._lock = self.store._journal = None
        lock.release()


async def found_in(folder: Path) -> Model:
    state, _ = await use_auth_state(FolderAuthStateStore(folder))
    try:
        return {"creds": state.creds["accountSyncCounter"], **await state.keys.get("session", IDS)}
    finally:
        await state.close()


@pytest.mark.parametrize("seed", range(int(os.environ.get("WWAUTH_POWER_LOSSES", "3"))))
async def test_what_was_promised_outlives_a_power_loss(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(tmp_path / "auth", random.Random(seed), rate=0.04)
    walk = Walk(disk)
    # Some of them with a journal that is full now and then.
    monkeypatch.setattr(journal_module, "_FULL", 2_000 if seed % 2 else 1_000_000)
    with monkeypatch.context() as patch:
        disk.watch(patch)
        await walk.open()
        for _ in range(60):
            await walk.step()
    await walk.state.close()
    assert len(disk.images) > 20
    for number, image in enumerate(disk.images):
        monkeypatch.setattr(journal_module, "_boot", lambda number=number: f"boot {number}")
        folder = tmp_path / "image"
        folder.mkdir()
        for name, data in image.files.items():
            (folder / name).write_bytes(data)
        # Now and then the next program is Baileys.
        baileys = number % 4 == 0
        if baileys:
            (folder / "session-0.json").write_text('{"v":"of Baileys"}')
            creds = BufferJSON.loads((folder / "creds.json").read_text("utf-8"))
            creds["accountSyncCounter"] = 77
            (folder / "creds.json").write_text(BufferJSON.dumps(creds), "utf-8")
        found = await found_in(folder)
        wanted = [{**model, "creds": 77, "0": {"v": "of Baileys"}} if baileys else model for model in image.promised]
        assert found in wanted, (number, sorted(image.files))
        shutil.rmtree(folder)
