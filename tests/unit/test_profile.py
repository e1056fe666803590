"""What LocalAuth and RemoteAuth share: the folder, its lock, and what dead browsers leave there."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from wwauth import LocalAuth, RemoteAuth
from wwauth.errors import ConfigurationError, SessionInUse
from wwauth.stores import MemoryStore


def strategies(folder: Path) -> list[LocalAuth | RemoteAuth]:
    return [LocalAuth(data_path=folder), LocalAuth(client_id="one", data_path=folder)]


async def test_the_folder_is_private_and_named_as_the_peer_names_it(tmp_path: Path) -> None:
    for strategy, name in zip(strategies(tmp_path / "auth"), ("session", "session-one"), strict=True):
        await strategy.before_browser_initialized()
        folder = tmp_path / "auth" / name
        assert strategy.user_data_dir == folder
        assert folder.is_dir()
        if os.name == "posix":
            assert folder.stat().st_mode & 0o777 == 0o700
            assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "auth").iterdir())
        await strategy.destroy()
    assert RemoteAuth(store=MemoryStore(), data_path=tmp_path).user_data_dir == tmp_path / "RemoteAuth"
    assert RemoteAuth(store=MemoryStore(), data_path=tmp_path, client_id="a").user_data_dir == tmp_path / "RemoteAuth-a"


@pytest.mark.skipif(sys.platform == "win32", reason="only POSIX systems have permission bits")
async def test_a_folder_of_the_callers_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    strategy = LocalAuth(data_path=tmp_path)
    await strategy.before_browser_initialized()
    await strategy.destroy()
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())


@pytest.mark.parametrize("below", [".", "auth"])
async def test_a_data_path_that_cannot_be_used_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    for strategy in (
        LocalAuth(data_path=tmp_path / "file" / below),
        RemoteAuth(store=MemoryStore(), data_path=tmp_path / "file"),
    ):
        with pytest.raises(ConfigurationError, match=r"data_path .*file.* cannot be used"):
            await strategy.before_browser_initialized()
        strategy._release()


async def test_a_relative_data_path_is_fixed_at_construction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    strategy = LocalAuth(data_path="auth")
    monkeypatch.chdir("/")
    assert strategy.user_data_dir == tmp_path / "auth" / "session"


async def test_a_second_holder_is_told_who_the_first_is(tmp_path: Path) -> None:
    first, second = LocalAuth(data_path=tmp_path), LocalAuth(data_path=tmp_path)
    await first.before_browser_initialized()
    with pytest.raises(SessionInUse) as caught:
        await second.before_browser_initialized()
    assert caught.value.pid == os.getpid()
    assert str(os.getpid()) in str(caught.value)
    await second.destroy()  # what it does not hold, it does not release
    with pytest.raises(SessionInUse):
        await second.before_browser_initialized()
    await first.destroy()
    await second.before_browser_initialized()
    await second.destroy()


_HOLD = """
import asyncio, sys
from wwauth import LocalAuth
strategy = LocalAuth(data_path=sys.argv[1])
asyncio.run(strategy.before_browser_initialized())
print("held", flush=True)
sys.stdin.read()
"""


async def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _HOLD, str(tmp_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    strategy = LocalAuth(data_path=tmp_path)
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"held\n"
        with pytest.raises(SessionInUse) as caught:
            await strategy.before_browser_initialized()
        assert caught.value.pid == process.pid
    finally:
        process.kill()
        await process.communicate()
    await strategy.before_browser_initialized()
    await strategy.destroy()


@pytest.mark.skipif(sys.platform == "win32", reason="Chromium has no SingletonLock on Windows")
@pytest.mark.parametrize("owner", ["another-container-7", f"{socket.gethostname()}-4194303", "nonsense"])
async def test_what_a_dead_browser_left_is_removed(tmp_path: Path, owner: str) -> None:
    profile = tmp_path / "session"
    profile.mkdir()
    for name in ("SingletonLock", "SingletonSocket", "SingletonCookie"):
        (profile / name).symlink_to(owner)
    strategy = LocalAuth(data_path=tmp_path)
    await strategy.before_browser_initialized()
    assert list(profile.iterdir()) == []
    await strategy.destroy()


async def test_the_holder_file_holds_no_secret_and_may_be_damaged(tmp_path: Path) -> None:
    first, second = LocalAuth(data_path=tmp_path), LocalAuth(data_path=tmp_path)
    await first.before_browser_initialized()
    holder = tmp_path / ".session.holder"
    assert set(json.loads(holder.read_text())) == {"pid", "host"}
    holder.write_text("{")
    with pytest.raises(SessionInUse, match="cannot be named") as caught:
        await second.before_browser_initialized()
    assert caught.value.pid is None
    await first.destroy()


async def test_logout_deletes_the_profile_and_keeps_the_lock_file(tmp_path: Path) -> None:
    strategy = LocalAuth(data_path=tmp_path)
    await strategy.before_browser_initialized()
    (tmp_path / "session" / "Default").mkdir()
    await strategy.logout()
    assert not (tmp_path / "session").exists()
    assert (tmp_path / ".session.lock").exists()
    await strategy.logout()


async def test_logout_of_a_profile_that_another_one_uses_deletes_nothing(tmp_path: Path) -> None:
    user, other = LocalAuth(data_path=tmp_path), LocalAuth(data_path=tmp_path)
    await user.before_browser_initialized()
    with pytest.raises(SessionInUse):
        await other.logout()
    assert (tmp_path / "session").is_dir()
    await user.destroy()


async def test_another_spelling_of_the_same_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As on a file system that ignores case: the folder is there, but under another name.
    monkeypatch.setattr(os, "listdir", lambda _path: ["session-BOT"])
    strategy = LocalAuth(client_id="bot", data_path=tmp_path)
    with pytest.raises(ConfigurationError, match="differs only in case"):
        await strategy.before_browser_initialized()
    await strategy.destroy()


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a file system in memory at /dev/shm")
async def test_a_data_path_that_will_not_last_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder, caplog.at_level(logging.WARNING):
        for _ in range(2):
            strategy = LocalAuth(data_path=folder)
            await strategy.before_browser_initialized()
            await strategy.destroy()
    messages = [record.getMessage() for record in caplog.records if "RemoteAuth" in record.getMessage()]
    assert len(messages) == 1
    assert folder in messages[0]
    assert "tmpfs" in messages[0]
