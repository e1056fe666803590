"""The folder on a disk that fails once, at each of the calls that a write makes: what is told, and what is there afterwards."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from wwauth.authstate import _journal as journal_module
from wwauth.authstate import use_multi_file_auth_state
from wwauth.errors import StoreError, StoreFull

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wwauth.authstate import AuthenticationState

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc which file a descriptor is")

CALLS = ("open", "write", "lseek", "ftruncate", "fsync", "fdatasync", "close", "replace", "unlink", "chmod", "stat")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EMFILE)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Failing:
    """Lets the call number `at` of those that concern a folder fail, and counts them."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.at, self.number, self.code = folder, -1, 0, 0
        self.failed = ""
        for name in CALLS:
            patch.setattr(os, name, self._call(name, getattr(os, name)))

    def _call(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def failing(what: Any, *args: Any, **kwargs: Any) -> Any:
            path = str(Path(f"/proc/self/fd/{what}").readlink()) if isinstance(what, int) else os.fspath(what)
            if isinstance(path, str) and path.startswith(str(self.folder)):
                self.number += 1
                if self.number == self.at:
                    self.failed = f"{name} {path}"
                    if name == "close":  # the descriptor is gone all the same
                        call(what)
                    raise OSError(self.code, os.strerror(self.code))
            return call(what, *args, **kwargs)

        return failing

    def arm(self, at: int, code: int) -> None:
        self.at, self.number, self.code, self.failed = at, 0, code, ""


async def _set(state: AuthenticationState, number: int) -> None:
    await state.keys.set({"session": {"1": {"n": number}, "2": {"n": number}, "gone": {"n": number} if number % 2 else None}})


async def _both(state: AuthenticationState, number: int) -> None:
    async with state.keys.transaction("k"):
        await _set(state, number)
        state.creds["accountSyncCounter"] = number
        await state.save_creds()


async def _save(state: AuthenticationState, number: int) -> None:
    state.creds["accountSyncCounter"] = number
    await state.save_creds()


async def read(state: AuthenticationState) -> dict[str, Any]:
    return await state.keys.get("session", ["1", "2", "gone"])


def values(number: int) -> dict[str, Any]:
    ids = ["1", "2", "gone"] if number % 2 else ["1", "2"]
    return {id_: {"n": number} for id_ in ids}


@pytest.mark.parametrize("full", [200, 10**9], ids=["with a full journal", "alone"])
@pytest.mark.parametrize("write", [_set, _both, _save])
async def test_a_write_that_fails_at_any_call(
    write: Callable[[AuthenticationState, int], Awaitable[None]],
    full: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal_module, "_FULL", full)
    folder = tmp_path / "auth"
    state, _ = await use_multi_file_auth_state(folder)
    failing = Failing(folder, monkeypatch)
    number = kept = 2
    await _both(state, number)
    descriptors = open_files()
    at = 0
    while True:
        at += 1
        number += 1
        failing.arm(at, ERRORS[at % 3])
        told = None
        try:
            await write(state, number)
        except StoreError as error:
            told = error
        else:
            kept = number
            if not failing.failed:
                break
        if told is not None:
            assert isinstance(told, StoreFull) == (failing.code == errno.ENOSPC)
            assert failing.failed
        failing.arm(-1, 0)
        # All of it or nothing; and whichever it is stays.
        if write is not _save:
            found = await read(state)
            assert found in (values(kept), values(number)), failing.failed
            kept = found["1"]["n"]
        await state.keys.set({"pre-key": {str(number): {"n": number}}})
        if write is not _save:
            assert await read(state) == values(kept)
        assert open_files() == descriptors, failing.failed
    failing.arm(-1, 0)
    await state.close()
    again, _ = await use_multi_file_auth_state(folder)
    if write is not _save:
        assert await read(again) == values(kept)
    if write is not _set:
        assert again.creds["accountSyncCounter"] == kept
    assert len(await again.keys.list_ids("pre-key")) == at - 1
    await again.close()
    assert at > 5
    assert not list(folder.glob("*.tmp"))


async def test_an_opening_and_a_closing_that_fail_at_any_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "auth"
    failing = Failing(folder, monkeypatch)
    descriptors = open_files()
    state, _ = await use_multi_file_auth_state(folder)
    await _both(state, 2)
    await state.close()
    for step in ("open", "close"):
        at, failed = 0, True
        while failed:
            at += 1
            try:
                failing.arm(at if step == "open" else -1, errno.EIO)
                state, _ = await use_multi_file_auth_state(folder)
                await _set(state, 4)
                failing.arm(at if step == "close" else -1, errno.EIO)
                await state.close()
            except StoreError:
                pass
            failed = bool(failing.failed)
            failing.arm(-1, 0)
            await state.close()
        assert at > 5
    state, _ = await use_multi_file_auth_state(folder)
    assert await read(state) == values(4)
    await state.close()
    assert open_files() == descriptors
