"""How the public names type in use: checked by mypy, never run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, assert_type

from wwauth import AuthenticationNeeded, AuthStrategy, BackupStatus, Client, ClientInfo, LocalAuth, NoAuth, RemoteAuth, Store
from wwauth.backup import BackupEngine, BackupReport, RestoreReport, SnapshotReport, StoredGeneration, take_snapshot
from wwauth.errors import SessionNotFound
from wwauth.qr import svg_qr, terminal_qr
from wwauth.stores import (
    EncryptedStore,
    FileSystemStore,
    MemoryStore,
    MirroredStore,
    RedisStore,
    RetryingStore,
    SessionInfo,
    open_store,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

client = Client(auth_strategy=LocalAuth(client_id="one"), launch_options={"headless": True})


@client.on("qr")
async def show(qr: str) -> None:
    assert_type(terminal_qr(qr), str)
    assert_type(svg_qr(qr), str)


@client.once("ready")
def ready() -> None:
    assert_type(client.info, ClientInfo | None)


async def life() -> None:
    assert_type(await client.initialize(), None)
    assert_type(client.qr, str | None)
    assert_type(await client.get_state(), str | None)
    assert_type(await client.request_pairing_code("15551234567"), str)
    await client.cancel_pairing_code()
    await client.reset_state()
    await client.logout()
    async with Client(auth_strategy=NoAuth()) as other:
        assert_type(other, Client)
    client.remove_listener("qr", show)


async def remote() -> None:
    strategy = RemoteAuth(store=FileSystemStore("backups"), backup_sync_interval_ms=300_000, archive="whatsapp-web.js")
    assert_type(await strategy.backup_now(), BackupReport)
    assert_type(strategy.status, BackupStatus)
    engine = BackupEngine(MemoryStore(), session="RemoteAuth-one", archive="packs", generations=3)
    assert_type(await engine.generations(), list[StoredGeneration])
    assert_type(await engine.restore(Path("profile"), generation=2), RestoreReport)
    assert_type(await engine.restore(Path("profile")), RestoreReport)
    assert_type(await take_snapshot(Path("profile"), Path("copy")), SnapshotReport)
    assert_type(open_store("file:backups"), Store)
    sealed = EncryptedStore(MemoryStore(), recipients=["age1…", Path("wwauth.key")], identities=[Path("wwauth.key")])
    assert_type(sealed.recipients, tuple[str, ...])
    RemoteAuth(store=sealed)
    mirror = MirroredStore(RetryingStore(RedisStore.from_url("redis://localhost/0"), attempts=3), sealed)
    assert_type(await mirror.repair(session="RemoteAuth-one"), list[str])
    RemoteAuth(store=mirror)


class OneFolder(AuthStrategy):
    user_data_dir: Path | None = Path("profile")

    async def on_authentication_needed(self) -> AuthenticationNeeded:
        return AuthenticationNeeded(failed=True, failure_event_payload="no")


class Mine(Store):
    async def session_exists(self, *, session: str) -> bool:
        return session == "one"

    async def save(self, *, session: str, path: Path) -> None:
        path.read_bytes()

    async def extract(self, *, session: str, path: Path) -> None:
        raise SessionNotFound(f"no {session!r} for {path}")

    async def delete(self, *, session: str) -> None:
        return None

    async def list_sessions(self, *, prefix: str = "") -> AsyncIterator[SessionInfo]:
        async for info in MemoryStore().list_sessions(prefix=prefix):
            yield info
