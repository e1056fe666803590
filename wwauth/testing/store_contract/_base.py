"""What a subclass of the contract gives, and what its tests share."""

# ruff: noqa: S101 - tests assert

from __future__ import annotations

import random
from typing import TYPE_CHECKING, ClassVar, NoReturn

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from wwauth.abc import SessionInfo, Store

MIB = 1024 * 1024


class Hooks:
    """The fixture and the hooks of a subclass; the fixture alone has to be there."""

    pytestmark = [pytest.mark.asyncio]  # noqa: RUF012 - pytest wants a list

    largest: ClassVar[int] = 8 * MIB + 1
    kills: ClassVar[int] = 3

    @pytest.fixture
    def store(self) -> Store:
        """Give an empty store; what it opened must be closed afterwards."""
        raise NotImplementedError("a subclass of StoreContract has a fixture `store` that gives an empty store")

    async def reopen(self, store: Store) -> Store:
        """Return another store on the same data, as the next run of a program opens it; the test closes it."""
        self._left_out("reopen", f"what {type(store).__name__} holds ends with it")

    def open_elsewhere(self, store: Store) -> str:
        """
        Return the Python statements with which another process opens the same data, as the variable `store`.

        For example ``f"from wwauth.stores import open_store; store = open_store({url!r})"``. That process is killed while it
        saves.
        """
        self._left_out("open_elsewhere", f"no other process can save what {type(store).__name__} holds")

    async def unreachable(self) -> Store:
        """Return a store that cannot be reached, such as one at a port where nobody listens; the test closes it."""
        self._left_out("unreachable", "what a store says that cannot be reached was not seen")

    async def connections(self, store: Store) -> int:
        """
        Count the connections to the place where `store` keeps its data, at its server or in its driver.

        The one that `reopen` gives has added none once it was closed. Where stores borrow their client, count what is in use.
        """
        self._left_out("connections", f"connections that {type(store).__name__} leaves open would not be seen")

    def _left_out(self, hook: str, why: str) -> NoReturn:
        pytest.skip(f"{type(self).__name__} has no {hook}(): {why}")


def need(feature: str, store: Store) -> None:
    """Skip a test of what a store does not declare."""
    if not getattr(store.features, feature):
        pytest.skip(f"{type(store).__name__} has no {feature}: features.{feature} is False")


def some_bytes(size: int = 1000, *, seed: int = 1) -> bytes:
    """Return the same bytes each time."""
    return random.Random(f"{seed}/{size}").randbytes(size)  # noqa: S311 - no secret


def new_folder(tmp_path: Path) -> Path:
    """Make a new empty folder."""
    number = len(list(tmp_path.glob("contract-*")))
    folder = tmp_path / f"contract-{number}"
    folder.mkdir()
    return folder


def new_archive(tmp_path: Path, size: int = 1000, *, seed: int = 1) -> Path:
    """Write an archive, alone in a folder, under a name that has nothing to do with the session's."""
    path = new_folder(tmp_path) / "source.bin"
    path.write_bytes(some_bytes(size, seed=seed))
    return path


async def extracted(store: Store, session: str, tmp_path: Path) -> bytes:
    """Return the bytes that a store holds."""
    path = new_folder(tmp_path) / "out.zip"
    await store.extract(session=session, path=path)
    got = path.read_bytes()
    path.unlink()
    return got


def same(got: bytes, wanted: bytes) -> bool:
    """Compare archives: that pytest draws the differences of megabytes takes minutes."""
    return got == wanted


async def listed(store: Store, prefix: str = "") -> dict[str, SessionInfo]:
    """Return what a store lists, by the names."""
    found: dict[str, SessionInfo] = {}
    async for info in store.list_sessions(prefix=prefix):
        assert info.session not in found, f"{info.session} is listed twice"
        found[info.session] = info
    return found


def check_size(store: Store, info: SessionInfo, size: int) -> None:
    """Compare a listed size with what was saved."""
    # How much encryption adds is not fixed, but it always adds something.
    right = info.size > size if store.features.encrypted else info.size == size
    assert right, f"{info.session} is listed with {info.size} bytes, {size} were saved"
