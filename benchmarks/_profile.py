"""A profile as a login of some weeks has it: made by a real Chromium that is linked to a simulated phone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from wwauth import Client, LocalAuth
from wwauth.testing import Simulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path
    from types import TracebackType

MB = 1_000_000


@dataclass(frozen=True)
class Kind:
    """What a profile is full of; `batch` messages are sent between two looks at its size."""

    name: str
    text_bytes: int
    media_every: int
    batch: int


# A backup compresses text and copies media (deflate gains nothing there), so that each is measured by itself.
KINDS = (
    Kind("messages and media", text_bytes=700, media_every=12, batch=600),
    Kind("messages alone", text_bytes=1_500, media_every=1_000_000, batch=2_500),
)
MEDIA_BYTES, LARGE_BYTES = 120_000, 20 * MB

SAVED = ("IndexedDB", "Local Storage")

# What Chromium writes anew at each start, and tables that LevelDB has merged into others and not deleted yet.
NO_CONTENT = re.compile(r"LOCK|LOG|LOG\.old")
TABLE = re.compile(r"\d+\.ldb")


class GrownProfile:
    """
    A closed profile at `path`, and the simulated WhatsApp Web that knows its login.

    Attributes:
        path: The user-data folder.
        kind: What it is full of.
        files: How many files it has that a backup takes.
        bytes_total: Their size together.
        deflated: What part of that is left when each file is deflated.
    """

    def __init__(self, path: Path, kind: Kind) -> None:
        self.path = path
        self.kind = kind
        self.files = self.bytes_total = 0
        self.deflated = 1.0
        self._messages = 0
        self._content: dict[str, tuple[int, int]] = {}
        self._simulator = Simulator(media_every=kind.media_every, media_size=MEDIA_BYTES)

    async def __aenter__(self) -> Self:
        await self._simulator.start()
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _exc: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self._simulator.close()

    async def grow(self, *, at_least: int) -> None:
        """Link the phone, send messages until the profile has its size, close the browser."""
        client = self._client(self.path.parent)
        await client.initialize()
        try:
            await self._simulator.phone.scan(await client.wait_for("qr", timeout=60))
            await client.wait_for("ready", timeout=60)
            while await asyncio.to_thread(size, self._session(self.path)) < at_least:
                await self._simulator.phone.send_messages(self.kind.batch, self.kind.text_bytes)
            self._messages = (await self._simulator.check())[0]["messages"]
        finally:
            await client.destroy()
        await asyncio.to_thread(self._take)

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[Path, Callable[[int], Awaitable[None]]]]:
        """Open the profile in a browser; give its folder while it is open, and what sends so many messages to it."""
        live = self._session(self.path)
        await asyncio.to_thread(self.path.rename, live)
        client = self._client(self.path.parent)
        await client.initialize()

        async def send(count: int) -> None:
            await self._simulator.phone.send_messages(count, self.kind.text_bytes)

        try:
            await client.wait_for("ready", timeout=60)
            yield live, send
        finally:
            await client.destroy()
            await asyncio.to_thread(self._take)

    def size(self) -> int:
        """Return the bytes that a backup of the profile takes now, open or closed."""
        return size(self.path if self.path.exists() else self._session(self.path))

    def fill(self, *, at_least: int) -> None:
        """Add media to the closed profile until it has its size; no message names them."""
        number, total = 0, self.size()
        folder = next((self.path / "Default" / "IndexedDB").glob("*.indexeddb.leveldb")).with_suffix(".blob") / "ff"
        while total < at_least:
            # Mostly such as the simulator sends, and some that are too large to be held in memory.
            length = LARGE_BYTES if number % 50 == 0 else MEDIA_BYTES
            target = folder / f"{number >> 8:02x}" / f"{number:x}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(os.urandom(length))
            number, total = number + 1, total + length
        self._take()

    async def check(self, target: Path) -> None:
        """Open a restored profile: it must be the same login, whole, and have all its messages."""
        await asyncio.to_thread(target.rename, self._session(target))
        client = self._client(target.parent)
        codes: list[str] = []
        client.on("qr", codes.append)
        await client.initialize()
        try:
            await client.wait_for("ready", timeout=60)
            (page,) = await self._simulator.check()
        finally:
            await client.destroy()
        found = {name: page[name] for name in ("diagnosis", "messages", "damaged")}
        if codes or found != {"diagnosis": "ok", "messages": self._messages, "damaged": 0}:
            raise SystemExit(
                f"{target} is not the login that was saved: {found}, {len(codes)} codes, {self._messages} messages"
            )

    def differences(self, target: Path) -> list[str]:
        """Return the names of the files that a restored profile lacks, or has with other bytes."""
        got = content(target)
        return sorted(
            name
            for name, wanted in self._content.items()
            if got.get(name) != wanted and not (name not in got and TABLE.fullmatch(name.rpartition("/")[2]))
        )

    def _take(self) -> None:
        """Move the profile to its place and measure it, without the caches, which nobody saves."""
        if not self.path.exists():
            self._session(self.path).rename(self.path)
        for path in [*self.path.iterdir(), *(self.path / "Default").iterdir()]:
            if path.name not in {"Default", *SAVED}:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        self._content = content(self.path)
        self.files = 0
        before = after = 0
        for path in saved_files(self.path):
            data = path.read_bytes()
            self.files, before, after = self.files + 1, before + len(data), after + len(zlib.compress(data, 6))
        self.bytes_total, self.deflated = before, after / before

    @staticmethod
    def _session(path: Path) -> Path:
        return path.with_name("session")

    def _client(self, data_path: Path) -> Client:
        launch_options: dict[str, Any] = {"args": list(self._simulator.host_resolver_args)}
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            launch_options["chromium_sandbox"] = False
        return Client(
            auth_strategy=LocalAuth(data_path=data_path), web_url="https://web.whatsapp.com/", launch_options=launch_options
        )


def saved_files(profile: Path) -> Iterator[Path]:
    """Iterate over the files of a profile that a backup takes."""
    for part in SAVED:
        yield from (path for path in sorted((profile / "Default" / part).rglob("*")) if path.is_file())


def content(profile: Path) -> dict[str, tuple[int, int]]:
    """Return size and checksum of each file that holds something."""
    return {
        path.relative_to(profile).as_posix(): (path.stat().st_size, zlib.crc32(path.read_bytes()))
        for path in saved_files(profile)
        if not NO_CONTENT.fullmatch(path.name)
    }


def size(profile: Path) -> int:
    """Return the bytes that a backup would take now; the browser may be at work on them."""
    total = 0
    for part in SAVED:
        for folder, _, names in os.walk(profile / "Default" / part):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    total += os.stat(os.path.join(folder, name)).st_size  # noqa: PTH116, PTH118 - thousands of files
    return total


def notes(profile: Path) -> list[Path]:
    """Return the notes that wwauth keeps in a profile of its last backup, by which it would find nothing new to save."""
    return [path for path in profile.iterdir() if path.suffix == ".json"]
