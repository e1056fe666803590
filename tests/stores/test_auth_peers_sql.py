"""Logins that Baileys' development line, mysql-baileys and postgres-baileys keep, in tables made as they make them."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from wwauth.abc import CREDS, RecordName
from wwauth.authstate import BufferJSON, init_auth_creds
from wwauth.authstate.creds import check_creds
from wwauth.errors import CredsCorrupted
from wwauth_stores.authstate.sql import sql_auth_state_store

if TYPE_CHECKING:
    from pathlib import Path

    from wwauth_stores.authstate._peers import PeerState

    from ..servers.mariadb import MariaDB
    from ..servers.postgresql import PostgreSQL

SENDER_KEY = RecordName("sender-key", "120363000000000000@g.us::15551234567_1::0")
VALUES: dict[RecordName, Any] = {
    RecordName("pre-key", "1"): {"public": bytes(range(32)), "private": bytes(32)},
    RecordName("session", "15551234567.0"): {"_sessions": {"x": {"registrationId": 1}}, "version": "v1"},
    SENDER_KEY: b"[]",
    RecordName("sender-key-memory", "120363000000000000@g.us"): {"15551234567:1@s.whatsapp.net": True},
    RecordName("app-state-sync-key", "AAA/AB+="): {"keyData": "AQID", "fingerprint": {"rawId": 1}, "timestamp": "17"},
    RecordName("lid-mapping", "15551234567"): "12345678901234567890",
    RecordName("lid-mapping", "123_reverse"): "15551234567",
    RecordName("device-list", "15551234567"): ["0", "7"],
}


async def read(peer: PeerState) -> dict[RecordName, str]:
    found = dict([record async for record in peer.records()])
    check_creds(BufferJSON.loads(found[CREDS]))
    return found


def texts(creds: Any) -> dict[RecordName, str]:
    return {CREDS: BufferJSON.dumps(creds), **{name: BufferJSON.dumps(value) for name, value in VALUES.items()}}


async def test_baileys_in_sqlite(tmp_path: Path) -> None:
    file, creds = tmp_path / "bot.db", init_auth_creds()
    many = {RecordName("pre-key", str(n)): {"public": b"x"} for n in range(2, 1200)}
    with closing(sqlite3.connect(file)) as made:
        made.execute("PRAGMA journal_mode = WAL")
        made.execute("CREATE TABLE creds (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        made.execute(
            "CREATE TABLE signal_keys (type TEXT NOT NULL, id TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (type, id))"
        )
        made.execute("CREATE INDEX idx_signal_keys_type ON signal_keys (type)")
        made.execute("INSERT INTO creds VALUES ('__creds__', ?)", (BufferJSON.dumps(creds),))
        rows = [(*name, BufferJSON.dumps(value)) for name, value in [*VALUES.items(), *many.items()]]
        made.executemany("INSERT INTO signal_keys VALUES (?, ?, ?)", rows)
        made.commit()
    async with sql_auth_state_store(f"sqlite:///{file}") as store:
        (peer,) = await store.peers()
        assert peer.session == "bot"
        assert await read(peer) == {**texts(creds), **{name: BufferJSON.dumps(value) for name, value in many.items()}}
        assert peer.problems == []
    with closing(sqlite3.connect(file)) as made:
        assert {name for (name,) in made.execute("SELECT name FROM sqlite_master WHERE type = 'table'")} == {
            "creds",
            "signal_keys",
        }
        made.execute("INSERT INTO creds VALUES ('other', '{}')")
        made.commit()
    async with sql_auth_state_store(f"sqlite:///{file}") as store:
        with pytest.raises(CredsCorrupted, match="2 credentials"):
            await store.peers()


async def test_mysql_baileys(mariadb: MariaDB) -> None:
    url, creds = mariadb.url("mysqlbaileys"), init_auth_creds()
    table = (
        "CREATE TABLE `auth` (`session` varchar(50) NOT NULL, `id` varchar(80) NOT NULL, `value` LONGTEXT DEFAULT NULL, "
        "UNIQUE KEY `idxunique` (`session`,`id`), KEY `idxsession` (`session`), KEY `idxid` (`id`)) ENGINE=MyISAM"
    )
    lost = {"keyData": {"type": "Buffer", "data": "AAAAAAAA"}, "fingerprint": {}, "timestamp": 17}
    rows = [
        ("creds", BufferJSON.dumps(creds)),
        # Whatever is no object it writes as it is.
        *(
            (f"{name.type}-{name.id}", value if isinstance(value, str) else BufferJSON.dumps(value))
            for name, value in VALUES.items()
        ),
        ("app-state-sync-key-AAAAAC", json.dumps(lost)),
        ("session-" + "9" * 72, "{}"),
        *((f"pre-key-{n}", '{"public":{"type":"Buffer","data":"AQ=="}}') for n in range(1000, 1700)),
    ]
    inserts = [f"('{session}', '{name}', '{value}')" for session in ("bot", "bot 2") for name, value in rows]
    mariadb.run(f"{table}; INSERT INTO auth VALUES {', '.join(inserts)}, ('bot', 'pre-key-9', NULL)", database="mysqlbaileys")
    async with sql_auth_state_store(url) as store:
        peers = await store.peers()
        assert [peer.session for peer in peers] == ["bot", "bot_2"]
        for peer in peers:
            found = await read(peer)
            assert found.items() >= texts(creds).items()
            assert RecordName("app-state-sync-key", "AAAAAC") not in found
            assert RecordName("pre-key", "9") not in found
            assert len(found) == len(rows) - 1
            assert ["have lost their bytes" in peer.problems[0], "80 characters" in peer.problems[1]] == [True, True]
    mariadb.run("UPDATE auth SET value = '{\"noiseKey\":' WHERE id = 'creds'", database="mysqlbaileys")
    async with sql_auth_state_store(url) as store:
        with pytest.raises(CredsCorrupted, match="cannot be read"):
            await read((await store.peers())[0])


async def test_postgres_baileys(postgresql: PostgreSQL) -> None:
    url, creds = postgresql.url("postgresbaileys"), init_auth_creds()
    rows = {"auth_creds": creds, **{f"{name.type}-{name.id}": value for name, value in VALUES.items()}}
    inserts = [
        f"('{session}:{name}', '{json.dumps(_ints(value))}')" for session in ("bot", "bot:2") for name, value in rows.items()
    ]
    # A Uint8Array that is no Buffer.
    inserts.append("""('bot:identity-key-1', '{"0":5,"1":255}')""")
    postgresql.run(
        "CREATE TABLE IF NOT EXISTS auth_data (session_key VARCHAR(255) PRIMARY KEY, data TEXT NOT NULL)",
        f"INSERT INTO auth_data VALUES {', '.join(inserts)}",
        database="postgresbaileys",
    )
    async with sql_auth_state_store(url) as store:
        first, second = await store.peers()
        assert [first.session, second.session] == ["bot", "2"]
        found = await read(first)
        assert BufferJSON.loads(found.pop(RecordName("identity-key", "1"))) == b"\x05\xff"
        assert found == await read(second) == texts(creds)
        assert await store.read(session="bot", names=[CREDS]) == {}


async def test_a_database_without_logins_of_others(postgresql: PostgreSQL, mariadb: MariaDB, tmp_path: Path) -> None:
    for url in (postgresql.url("nobody"), mariadb.url("nobody"), f"sqlite:///{tmp_path / 'nobody.db'}"):
        async with sql_auth_state_store(url) as store:
            await store.write(session="one", changes={CREDS: "{}"})
            assert await store.peers() == []


def _ints(value: Any) -> Any:
    """Return a value as postgres-baileys' bufferToJSON makes it."""
    if isinstance(value, bytes):
        return {"type": "Buffer", "data": list(value)}
    if isinstance(value, dict):
        return {key: _ints(item) for key, item in value.items()}
    return [_ints(item) for item in value] if isinstance(value, list) else value
