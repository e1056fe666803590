"""
One measured operation of wwauth's auth state, in a process of its own; _baileys.mjs is the same for Baileys.

    python _authstate.py '{"operation": "b1", "place": "…", "payload": "…", "count": 10000}'

Prints {"seconds", "cpu", "count", "opening"}. What is not the store's (keys made, payload read, the state opened) is not in the
time. `place` is a folder, or the URL of a database.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wwauth.authstate import BufferJSON, make_cacheable_signal_key_store, use_multi_file_auth_state, use_sql_auth_state

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wwauth.authstate import AuthenticationState, SignalKeyStore

_UPLOAD, _TOP_UP, _CHUNK, _TASKS = 812, 5, 500, 64


def ids(count: int) -> list[str]:
    return [f"{15550000000 + n}.{n % 4}" for n in range(count)]


class Operations:
    """The operations on one state, by name."""

    def __init__(
        self, state: AuthenticationState, save_creds: Callable[[], Awaitable[None]], payload: dict[str, Any], count: int
    ) -> None:
        self._state, self._save_creds = state, save_creds
        self._pre_keys, self._sessions = payload["preKeys"], payload["sessions"]
        self._count = count

    async def prepare(self) -> None:
        await self._save_creds()
        known = ids(self._count)
        for start in range(0, self._count, _CHUNK):
            chunk = known[start : start + _CHUNK]
            await self._state.keys.set({"session": {id_: self._session(n) for n, id_ in enumerate(chunk)}})

    async def a(self) -> None:
        state, following = self._state, 1
        while following <= self._count:
            size = min(_UPLOAD if following == 1 else _TOP_UP, self._count - following + 1)
            async with state.keys.transaction("me"):
                await state.keys.set({"pre-key": {str(following + n): self._pre_keys[following + n - 1] for n in range(size)}})
                following += size
                state.creds["nextPreKeyId"] = state.creds["firstUnuploadedPreKeyId"] = following
                await self._save_creds()

    async def b1(self) -> None:
        known = ids(_CHUNK)
        for n in range(self._count):
            await self._state.keys.set({"session": {known[n % _CHUNK]: self._session(n)}})

    async def b2(self) -> None:
        keys, known = self._cached(), ids(_CHUNK)
        for n in range(self._count):
            await self._update(keys, known[n % _CHUNK], n)

    async def b3(self) -> None:
        keys, known, numbers = self._state.keys, ids(_CHUNK), iter(range(self._count))

        async def one() -> None:
            for n in numbers:
                await self._update(keys, known[n % _CHUNK], n)

        await asyncio.gather(*(one() for _ in range(_TASKS)))

    async def b4(self) -> None:
        for n in range(self._count):
            self._state.creds["accountSyncCounter"] = n
            await self._save_creds()

    async def c1(self) -> None:
        await self._read_singly(self._state.keys)

    async def c2(self) -> None:
        await self._read_singly(self._cached())

    async def c3(self) -> None:
        await self._read_all(self._state.keys)

    async def c4(self) -> None:
        await self._read_all(self._cached())

    async def c5(self) -> None:
        await self._read_singly(self._state.keys, missing=True)

    async def c6(self) -> None:
        await self._read_singly(self._cached(), missing=True)

    async def d(self) -> None:
        known = ids(self._count)
        for start in range(0, self._count, _CHUNK):
            chunk = known[start : start + _CHUNK]
            assert len(await self._state.keys.get("session", chunk)) == len(chunk)

    def _cached(self) -> SignalKeyStore:
        return make_cacheable_signal_key_store(self._state.keys)

    def _session(self, number: int) -> Any:
        return self._sessions[number % len(self._sessions)]

    async def _update(self, keys: SignalKeyStore, id_: str, number: int) -> None:
        async with keys.transaction(id_):
            assert await keys.get("session", [id_])
            await keys.set({"session": {id_: self._session(number)}})

    async def _read_singly(self, keys: SignalKeyStore, *, missing: bool = False) -> None:
        known = [f"{id_}0" if missing else id_ for id_ in ids(_CHUNK)]
        for n in range(self._count):
            assert bool(await keys.get("session", [known[n % _CHUNK]])) is not missing

    async def _read_all(self, keys: SignalKeyStore) -> None:
        known = ids(_CHUNK)
        for _ in range(self._count // _CHUNK):
            assert len(await keys.get("session", known)) == _CHUNK


async def main(job: dict[str, Any]) -> dict[str, float]:
    payload = BufferJSON.loads(Path(job["payload"]).read_text("utf-8"))
    # 20,000 objects of the benchmark's own: Python's collector would look at all of them again and again.
    gc.freeze()
    use = use_sql_auth_state if "://" in job["place"] else use_multi_file_auth_state
    began = time.perf_counter()
    state, save_creds = await use(job["place"])
    opening = time.perf_counter() - began
    async with state:
        operations = Operations(state, save_creds, payload, job["count"])
        cpu, began = time.process_time(), time.perf_counter()
        await getattr(operations, job["operation"])()
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"seconds": seconds, "cpu": cpu, "count": job["count"], "opening": opening}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
