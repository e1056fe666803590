"""The commands on stored sessions, as processes, with a login that a browser made."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from wwauth import RemoteAuth
from wwauth.backup import BackupEngine
from wwauth.backup.archive import Stamp, tree_digest, write_archive
from wwauth.stores import FileSystemStore
from wwauth.web.deep import deep_look

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wwauth.testing import Simulator

    from .conftest import Recorded

pytestmark = pytest.mark.browser

NAME = "RemoteAuth-one"


async def wwauth(*arguments: str, cwd: Path) -> tuple[int | None, str, str]:
    pipe = asyncio.subprocess.PIPE
    environment = {**os.environ, "COLUMNS": "80"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "wwauth", *arguments, cwd=cwd, env=environment, stdout=pipe, stderr=pipe
    )
    out, err = await asyncio.wait_for(process.communicate(), 120)
    return process.returncode, out.decode(), err.decode()


@pytest.mark.timeout(300)
async def test_a_login_is_saved_live_verified_deeply_moved_and_restored(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    data, store = tmp_path / "auth", FileSystemStore(tmp_path / "store")
    recorded = make_client(auth_strategy=RemoteAuth(client_id="one", data_path=data, store=store))
    await recorded.link(simulator)
    here = ("--store", f"file:{tmp_path / 'store'}", "--web-url", simulator.url)

    # The client saves its profile by itself.
    code, out, err = await wwauth("backup", NAME, *here, "--data-path", str(data), cwd=tmp_path)
    assert (code, out) == (1, "")
    assert f"pid {os.getpid()}" in err
    # Nor is it replaced under the browser.
    code, _, err = await wwauth("restore", NAME, *here, "--data-path", str(data), cwd=tmp_path)
    assert code == 1
    assert f"pid {os.getpid()}" in err
    await recorded.client.destroy()

    code, out, err = await wwauth("verify", *here, "--deep", "--no-sandbox", "--json", cwd=tmp_path)
    assert (code, err) == (0, "")
    (answer,) = json.loads(out)
    assert answer["ok"] is True
    assert len(answer["generations"]) >= 1
    for generation in answer["generations"]:
        (note,) = generation["notes"]
        assert note.startswith("opened twice in Chromium: ")
        assert "signal-storage v" in note
    hidden = {path.name for path in (tmp_path / "store").iterdir() if path.name.startswith(".")}
    assert hidden == {".RemoteAuth-one.lease", ".RemoteAuth-one.lock"}  # those of the lease, which stay

    code, out, err = await wwauth("export", NAME, "moving.zip", "--store", "file:store", cwd=tmp_path)
    assert (code, err) == (0, "")
    there = ("--store", "file:there", "--web-url", simulator.url)
    code, out, err = await wwauth("import", "moving.zip", *there, "--session", "RemoteAuth-two", cwd=tmp_path)
    assert (code, err) == (0, "")
    code, out, err = await wwauth("restore", "RemoteAuth-two", *there, "--data-path", "elsewhere", cwd=tmp_path)
    assert (code, err) == (0, "")

    # The moved login is one that the server takes, without a code.
    strategy = RemoteAuth(client_id="two", data_path=tmp_path / "elsewhere", store=FileSystemStore(tmp_path / "there"))
    moved = make_client(auth_strategy=strategy)
    await moved.client.initialize()
    await moved.client.wait_for("ready", timeout=30)
    assert "qr" not in moved.names
    assert "restored" not in moved.names, "what was restored by hand is not restored again"


async def test_a_foreign_browser_does_not_keep_a_profile_from_being_saved(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path, launch_options: dict[str, Any]
) -> None:
    strategy = RemoteAuth(client_id="one", data_path=tmp_path, store=FileSystemStore(tmp_path / "a"))
    recorded = make_client(auth_strategy=strategy)
    await recorded.link(simulator)
    await strategy.backup_now()
    await recorded.client.destroy()
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(tmp_path / NAME, **launch_options)
        try:
            await context.pages[0].goto(simulator.url)
            here = ("--store", "file:b", "--web-url", simulator.url, "--data-path", ".")
            code, out, err = await wwauth("backup", NAME, *here, "--json", cwd=tmp_path)
            assert (code, err) == (0, "")
            assert json.loads(out)["kind"] == "full"
            code, out, err = await wwauth("restore", NAME, *here, cwd=tmp_path)
            assert (code, out) == (1, "")
            assert "a browser has this profile open" in err
        finally:
            await context.close()


async def test_what_looks_whole_and_does_not_open_is_found_by_a_deep_look(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path, launch_options: dict[str, Any]
) -> None:
    store = FileSystemStore(tmp_path / "store")
    recorded = make_client(
        auth_strategy=RemoteAuth(client_id="one", data_path=tmp_path, store=store, archive="whatsapp-web.js")
    )
    await recorded.link(simulator)
    await recorded.client.destroy()
    damaged = tmp_path / "damaged"
    with zipfile.ZipFile(tmp_path / "store" / f"{NAME}.zip") as archive:
        archive.extractall(damaged)
    # Whole records that make no sense to LevelDB: every checksum of its own is right.
    (log,) = sorted((damaged / "Default" / "IndexedDB").glob("*.leveldb/*.log"))[-1:]
    log.write_bytes(whole_but_senseless())
    (tmp_path / "store" / f"{NAME}.zip").unlink()
    write_archive(damaged, tmp_path / "store" / f"{NAME}.zip", stamp=Stamp(1, tree_digest(damaged)))
    engine = BackupEngine(store, session=NAME, origin=simulator.url)
    assert (await engine.verify()).ok
    report = await engine.verify(look_into=deep_look(simulator.url, launch_options=launch_options))
    assert not report.ok
    assert "Chromium" in (report.generations[0].problem or "")


def whole_but_senseless() -> bytes:
    from wwauth.backup.leveldb import masked_crc32c

    body = b"\1" + b"\xff" * 40
    return masked_crc32c(body).to_bytes(4, "little") + (40).to_bytes(2, "little") + body
