"""
A login goes from unmodified whatsapp-web.js to wwauth and the other way: as a LocalAuth folder, and as a RemoteAuth zip.

At WhatsApp Web's own address, by which Chromium names the databases.
"""

from __future__ import annotations

import shutil
import zipfile
from typing import TYPE_CHECKING

import pytest

from wwauth.testing import Simulator

from ..soaking import most_in_soak
from .scenarios import link, save_and_close

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import MakeStarter
    from .sides import Side

pytestmark = [pytest.mark.browser, pytest.mark.interop, pytest.mark.timeout(300)]

PEER, OURS = "whatsapp-web.js", "wwauth"
ways = pytest.mark.parametrize(("writer", "reader"), [(PEER, OURS), (OURS, PEER)])
ids = pytest.mark.parametrize("client_id", most_in_soak(["client-one", None]))


async def fill(simulator: Simulator) -> int:
    """Send messages and media, and return how many records the page has."""
    await simulator.phone.send_messages(100, 2_000)
    (page,) = await simulator.check()
    assert page["damaged"] == 0
    assert page["messages"] >= 100
    return int(page["messages"])


async def expect_same_login(side: Side, simulator: Simulator, messages: int) -> None:
    """Expect that a client becomes ready without a code, and that nothing of the login is missing or from another moment."""
    await side.event("ready")
    (page,) = await simulator.check()
    assert (page["diagnosis"], page["problems"]) == ("ok", [])
    assert (page["messages"], page["damaged"]) == (messages, 0)
    assert not {"qr", "code"} & {name for name, _ in side.events}


@ids
@ways
async def test_a_local_auth_folder(
    writer: str, reader: str, client_id: str | None, starter: MakeStarter, tmp_path: Path
) -> None:
    async with Simulator(qr_refresh=3600) as simulator:
        side = await starter(writer, simulator, tmp_path)("LocalAuth", client_id=client_id)
        await link(side, simulator)
        messages = await fill(simulator)
        await side.destroy()

        side = await starter(reader, simulator, tmp_path)("LocalAuth", client_id=client_id)
        await expect_same_login(side, simulator, messages)
        await side.destroy()


@ids
@ways
async def test_a_remote_auth_zip(writer: str, reader: str, client_id: str | None, starter: MakeStarter, tmp_path: Path) -> None:
    async with Simulator(qr_refresh=3600) as simulator:
        side = await starter(writer, simulator, tmp_path)("RemoteAuth", client_id=client_id)
        await link(side, simulator)
        messages = await fill(simulator)
        await save_and_close(side)
        name = f"RemoteAuth-{client_id}" if client_id else "RemoteAuth"
        with zipfile.ZipFile(tmp_path / "store" / f"{name}.zip") as archive:
            assert archive.testzip() is None
            assert {"Default/IndexedDB/", "Default/Local Storage/"} <= set(archive.namelist())
        shutil.rmtree(tmp_path / "auth")
        (tmp_path / "auth").mkdir()  # without it, the peer does not restore

        side = await starter(reader, simulator, tmp_path)("RemoteAuth", client_id=client_id)
        await expect_same_login(side, simulator, messages)
        await side.destroy()
