"""Three ways to copy the profile of a browser that writes: wwauth's, whatsapp-web.js's, and a plain recursive copy."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from wwauth.backup import take_snapshot
from wwauth.errors import SnapshotFailed

from . import live

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator

    from playwright.async_api import Page

    from wwauth.backup import SnapshotReport

WWAUTH, PLAIN, PEER = "wwauth", "plain copy", "whatsapp-web.js"


class CopyRefused(Exception):
    """The way itself says that it could not copy."""


@dataclass
class Source:
    """A profile that a page writes to."""

    site: live.Site
    profile: Path
    page: Page


@dataclass
class Copies:
    """Takes copies, each by the way that is asked for."""

    peer: asyncio.subprocess.Process | None
    random: random.Random
    reports: list[SnapshotReport] = field(default_factory=list)

    async def take(self, way: str, source: Source, copy: Path) -> None:
        """Make the folder `copy`; raise `CopyRefused` when that way finds that it cannot, and leave nothing then."""
        if way == WWAUTH:
            await self._wwauth(source, copy, flush=self.random.random() < 0.4)
        elif way == PLAIN:
            await asyncio.to_thread(_plain, source.profile, copy)
        else:
            await self._peer(source.profile, copy)

    async def _wwauth(self, source: Source, copy: Path, *, flush: bool) -> None:
        try:
            report = await take_snapshot(
                source.profile,
                copy,
                origin=source.site.url,
                # Hard links or descriptors; with and without waiting for a quiet moment.
                link=self.random.random() < 0.5,
                quiet_for=self.random.choice([0.0, 0.1, 0.5]),
                durable=False,
                flush=functools.partial(live.flush, source.page.context) if flush else None,
            )
        except SnapshotFailed as exc:
            raise CopyRefused(str(exc)) from exc
        self.reports.append(report)

    async def _peer(self, profile: Path, copy: Path) -> None:
        assert self.peer is not None
        assert self.peer.stdin is not None
        assert self.peer.stdout is not None
        self.peer.stdin.write(json.dumps({"profile": str(profile), "copy": str(copy)}).encode() + b"\n")
        error = json.loads(await self.peer.stdout.readline())["error"]
        if error is not None:
            await asyncio.to_thread(shutil.rmtree, copy, ignore_errors=True)
            raise CopyRefused(error)


def _plain(profile: Path, copy: Path) -> None:
    for part in ("IndexedDB", "Local Storage"):
        # It copies all it can, skips what vanishes, and raises only at its end.
        with contextlib.suppress(shutil.Error):
            shutil.copytree(profile / "Default" / part, copy / "Default" / part)


@contextlib.asynccontextmanager
async def peer(node: str | None) -> AsyncIterator[asyncio.subprocess.Process | None]:
    """Run the peer's method in a process of its own; None without Node."""
    if node is None:
        yield None
        return
    process = await asyncio.create_subprocess_exec(
        node, str(Path(__file__).with_name("copy_peer.js")), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


def clone(copy: Path, target: Path) -> None:
    """Make another copy of a copy that no browser has open, which stays as it is when one opens the first."""

    def keep(source: str, target: str) -> None:
        # Tables and blobs never change; the others are written on.
        if Path(source).suffix == ".ldb" or ".indexeddb.blob" in source:
            Path(target).hardlink_to(source)
        else:
            shutil.copy2(source, target)

    shutil.copytree(copy, target, copy_function=keep)


def tables(profile: Path) -> set[str]:
    """Name the tables of a profile's IndexedDB."""
    return {path.name for path in profile.glob("Default/IndexedDB/*/*.ldb")}
