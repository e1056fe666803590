"""RemoteAuth over an EncryptedStore: the login comes back, also with a new key, and never with a wrong one."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from pyrage import x25519

from wwauth import RemoteAuth
from wwauth.errors import DecryptionFailed
from wwauth.stores import EncryptedStore, FileSystemStore

from .simulated import the_page

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wwauth.testing import Simulator

    from .conftest import Recorded

pytestmark = pytest.mark.browser


async def test_a_login_comes_back_from_encrypted_backups(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    old, new, stranger = (x25519.Identity.generate() for _ in range(3))

    def client(recipient: x25519.Identity, *identities: x25519.Identity) -> Recorded:
        inner = FileSystemStore(tmp_path / "store")
        store = EncryptedStore(inner, recipients=[recipient.to_public()], identities=identities)
        return make_client(auth_strategy=RemoteAuth(store=store, client_id="one", data_path=tmp_path / "auth"))

    async def comes_back(it: Recorded) -> None:
        await it.client.initialize()
        await it.client.wait_for("ready", timeout=30)
        assert (it.names[0], "qr" in it.names) == ("restored", False)
        page = await the_page(simulator, stage="ready")
        assert (page["diagnosis"], page["damaged"]) == ("ok", 0)
        await simulator.phone.send_messages(5, 1_000)
        await it.client.destroy()

    first = client(old, old)
    await first.link(simulator)
    await first.client.destroy()
    stored = [path.read_bytes() for path in sorted((tmp_path / "store").glob("*.zip"))]
    assert stored
    for archive in stored:
        assert archive.startswith(b"age-encryption.org/v1\n")
        assert b"Default/" not in archive
    shutil.rmtree(tmp_path / "auth")

    wrong = client(stranger, stranger)
    with pytest.raises(DecryptionFailed, match="for other keys"):
        await wrong.client.initialize()
    await wrong.client.destroy()
    assert [path.read_bytes() for path in sorted((tmp_path / "store").glob("*.zip"))] == stored

    await comes_back(client(new, new, old))
    shutil.rmtree(tmp_path / "auth")
    await comes_back(client(new, new))
    assert not [path for path in (tmp_path / "auth").iterdir() if path.name.startswith(".") and path.name.endswith(".tmp")]
