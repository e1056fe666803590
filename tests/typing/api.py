"""How the public names type in use: checked by mypy, never run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_type

from pyee.asyncio import AsyncIOEventEmitter

from wwauth import AuthenticationNeeded, AuthStrategy, BackupStatus, Client, ClientInfo, LocalAuth, NoAuth, RemoteAuth, Store
from wwauth.authstate import (
    AuthenticationCreds,
    AuthenticationState,
    AuthStateBackup,
    AuthStateStore,
    BufferJSON,
    DisconnectReason,
    EncryptedAuthState,
    MemoryAuthStateStore,
    MessageStore,
    SignalKeyStore,
    add_transaction_capability,
    init_auth_creds,
    make_cacheable_signal_key_store,
    make_in_memory_store,
    new_key,
    open_auth_state_store,
    reconnect_policy,
    typed,
    typed_creds,
    use_auth_state,
    use_mongo_auth_state,
    use_multi_file_auth_state,
    use_redis_auth_state,
    use_sql_auth_state,
    verify,
)
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


async def auth_state() -> None:
    state, save_creds = await use_multi_file_auth_state("auth_info_baileys", recover=True)
    assert_type(state, AuthenticationState)
    emitter = AsyncIOEventEmitter()
    emitter.on("creds.update", save_creds)
    assert_type(await save_creds(), None)
    assert_type(state.creds, AuthenticationCreds)
    assert_type(state.creds["me"]["id"], Any)
    assert_type(await state.keys.get("pre-key", ["1", "2"]), dict[str, Any])
    await state.keys.set(
        {"pre-key": {"1": {"private": bytes(32), "public": bytes(32)}, "2": None}, "device-list": {"1": ["0"]}}
    )
    changes = {"pre-key": {"1": None}}
    await state.keys.set(changes)
    async with state.keys.transaction("15551234567"):
        assert_type(await state.keys.list_ids("pre-key"), list[str])
    keys = make_cacheable_signal_key_store(state.keys, None, max_records=100)
    assert_type(keys, SignalKeyStore)
    assert_type(add_transaction_capability(keys, None), SignalKeyStore)
    state.bind(emitter).unbind()
    await state.logout()
    async with state:
        await state.close()


async def auth_state_stores() -> None:
    await use_sql_auth_state("sqlite:///logins.db", session="user-1")
    await use_mongo_auth_state("mongodb://localhost/bot", session="user-1", layout="guide")
    await use_redis_auth_state("redis://localhost/0", session="user-1")
    assert_type(open_auth_state_store("auth_info_baileys"), AuthStateStore)
    sealed = EncryptedAuthState(MemoryAuthStateStore(), keys=[new_key()])
    state, _ = await use_auth_state(sealed, session="user-1")
    assert_type(state, AuthenticationState)
    assert_type((await verify(sealed, "user-1")).ok, bool)
    assert_type(await AuthStateBackup("auth_info_baileys", MemoryStore()).save(), BackupReport)


async def auth_state_parts() -> None:
    assert_type(init_auth_creds(), AuthenticationCreds)
    assert_type(BufferJSON.dumps({"a": b""}), str)
    assert_type(BufferJSON.loads("{}"), Any)
    assert_type(typed_creds(init_auth_creds()).is_linked, bool)
    assert_type(typed("device-list", ["0"]), tuple[str, ...])
    reason = DisconnectReason.of({"output": {"statusCode": 401}})
    assert_type(reason, DisconnectReason | None)
    assert_type(DisconnectReason.timed_out.advice, str)
    assert_type(reconnect_policy().delay(reason), float | None)
    async with MessageStore("messages.db", max_age=86_400, max_messages=None) as messages:
        messages.bind(AsyncIOEventEmitter()).unbind()
        assert_type(await messages.get_message_secret({"remoteJid": "1@lid", "id": "A"}), bytes | None)
    memory = make_in_memory_store(max_messages_per_chat=None)
    async with memory, memory.autosave("baileys_store.json", interval=10):
        await memory.read_from_file("baileys_store.json")
