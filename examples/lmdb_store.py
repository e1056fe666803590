"""
Keep logins in LMDB, a database that wwauth has no module for: a store of your own, for archives of any size, that lists them.

To run:
    pip install lmdb
    python examples/lmdb_store.py

stores/README.md says what each method promises; `wwauth.testing.StoreContract` checks it.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lmdb

from wwauth import Store
from wwauth.abc import SessionInfo, StoreFeatures
from wwauth.errors import SessionNotFound, StoreFull

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class LMDBStore(Store):
    """Keep each archive in pieces of 1 MiB, beside a head that says they are there; whoever gives the environment closes it."""

    features = StoreFeatures(listing=True)

    def __init__(self, environment: lmdb.Environment) -> None:
        self._environment = environment

    async def session_exists(self, *, session: str) -> bool:
        return bool(await self._run(lambda view: view.get(_head(session))))

    async def save(self, *, session: str, path: Path) -> None:
        def work(change: Any) -> None:
            _delete(change, session)
            with path.open("rb") as source:
                for number, piece in enumerate(iter(lambda: source.read(1 << 20), b"")):
                    change.put(_piece(session, number), piece)
                head = {"size": source.tell(), "modified": datetime.now(UTC).timestamp()}
            change.put(_head(session), json.dumps(head).encode())

        await self._run(work, write=True)

    async def extract(self, *, session: str, path: Path) -> None:
        def work(view: Any) -> None:
            if view.get(_head(session)) is None:
                raise SessionNotFound(f"there is no session {session!r} in {self._environment.path()}: link the device first")
            try:
                with open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode=0o600)) as target:
                    for number in range(1 << 32):
                        if (piece := view.get(_piece(session, number))) is None:
                            return
                        target.write(piece)
            except OSError:
                path.unlink(missing_ok=True)
                raise

        await self._run(work)

    async def delete(self, *, session: str) -> None:
        await self._run(lambda change: _delete(change, session), write=True)

    async def list_sessions(self, *, prefix: str = "") -> AsyncIterator[SessionInfo]:
        def work(view: Any) -> list[tuple[str, dict[str, float]]]:
            heads = view.cursor()
            found = heads.iternext() if heads.set_range(_head(prefix)) else ()
            return [(key[5:].decode(), json.loads(head)) for key, head in found if key.startswith(_head(prefix))]

        for session, head in await self._run(work):
            yield SessionInfo(session, int(head["size"]), datetime.fromtimestamp(head["modified"], UTC))

    async def _run(self, work: Callable[[Any], Any], *, write: bool = False) -> Any:
        def transaction() -> Any:
            # What fails, or is killed, in a transaction has not been.
            with self._environment.begin(write=write) as either:
                return work(either)

        try:
            return await asyncio.to_thread(transaction)
        except lmdb.MapFullError as error:
            raise StoreFull(f"{self._environment.path()} is full: open it with a larger map_size") from error


def _head(session: str) -> bytes:
    return b"head/" + session.encode()


def _piece(session: str, number: int) -> bytes:
    return b"piece/%s/%d" % (session.encode(), number)


def _delete(change: Any, session: str) -> None:
    change.delete(_head(session))
    number = 0
    while change.delete(_piece(session, number)):
        number += 1


async def main() -> None:
    """Send an archive there and back; `RemoteAuth(store=LMDBStore(...))` does the same with a login."""
    # The size is a limit; on Windows it is allocated at once.
    with tempfile.TemporaryDirectory() as folder, lmdb.open(f"{folder}/logins", map_size=1 << 30) as environment:
        store = LMDBStore(environment)
        archive, copy = Path(folder) / "archive.zip", Path(folder) / "copy.zip"
        archive.write_bytes(b"what RemoteAuth would save")
        await store.save(session="RemoteAuth-example", path=archive)
        await store.extract(session="RemoteAuth-example", path=copy)
        print("there and back:", copy.read_bytes() == archive.read_bytes())
        async for info in store.list_sessions():
            print(info.session, info.size, "bytes")


if __name__ == "__main__":
    asyncio.run(main())
