"""A server that is killed in the middle of saves, and comes back."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from wwauth.errors import StoreUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.base import Server

MIB = 1024 * 1024


async def kill_in_saves(
    server: Server, store: Any, folder: Path, *, kills: int, seed: int, size: int = 12 * MIB
) -> Counter[str]:
    """
    Kill the server at `kills` random moments of a save, start it again each time, and return how the saves ended.

    What is stored is the old archive or the new one, and the new one where `save` said so; then a save with the same client
    works.
    """
    rng = random.Random(seed)
    path, out = folder / "new.zip", folder / "out.zip"
    outcomes: Counter[str] = Counter()

    async def stored() -> bytes:
        await store.extract(session="one", path=out)
        return out.read_bytes()

    def write(number: int, length: int) -> bytes:
        data = random.Random(f"{seed}/{number}").randbytes(length)
        path.write_bytes(data)
        return data

    write(-1, size)
    began = time.monotonic()
    await store.save(session="one", path=path)
    usual = time.monotonic() - began
    for number in range(kills):
        old = write(2 * number, MIB)
        await store.save(session="one", path=path)
        new = write(2 * number + 1, size)
        save = asyncio.create_task(store.save(session="one", path=path))
        await asyncio.sleep(rng.uniform(0, usual))
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        try:
            await save
        except StoreUnavailable:
            found = await stored()
            assert found in (old, new), f"kill {number}: neither the old archive nor the new one is there"
            outcomes["failed, the new one is there" if found == new else "failed, the old one is there"] += 1
        else:
            assert await stored() == new, f"kill {number}: an archive whose save was acknowledged is lost"
            outcomes["saved"] += 1
    return outcomes
