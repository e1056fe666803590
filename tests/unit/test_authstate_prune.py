"""What `prune` deletes, and what it never does."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from wwauth.abc import CREDS, RecordName
from wwauth.authstate import FolderAuthStateStore, MemoryAuthStateStore
from wwauth.authstate.prune import PrunePolicy, prune
from wwauth.authstate.verify import verify
from wwauth.errors import ConfigurationError, CredsCorrupted, SessionInUse, SessionNotFound, StoreUnavailable

from .authfolders import change_creds, copied, files, in_memory, pre_keys

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def session_record(*closed: int, used: int) -> str:
    """Return a session record with entries that were closed then, -1 for one that is open."""
    entries = {f"B{n}": {"indexInfo": {"closed": when, "used": used}, "_chains": {}} for n, when in enumerate(closed)}
    return json.dumps({"_sessions": entries, "version": "v1"}, separators=(",", ":"))


async def test_the_defaults_delete_nothing_of_a_young_login(tmp_path: Path) -> None:
    folder = copied("03-full", tmp_path / "auth")
    before = files(folder)
    report = await prune(FolderAuthStateStore(folder))
    assert (report.deleted, report.closed_sessions, report.pre_keys_kept) == ({}, 0, 29)
    assert files(folder) == before


async def test_only_the_oldest_uploaded_pre_keys_go(tmp_path: Path) -> None:
    folder = copied("03-full", tmp_path / "auth")
    change_creds(folder, firstUnuploadedPreKeyId=26)
    before = files(folder)
    planned = await prune(FolderAuthStateStore(folder), "default", PrunePolicy(keep_pre_keys=4), dry_run=True)
    assert files(folder) == before
    report = await prune(FolderAuthStateStore(folder), "default", PrunePolicy(keep_pre_keys=4))
    assert pre_keys(folder) == {22, 23, 24, 25, *range(26, 31)}
    assert report.deleted == planned.deleted == {"pre-key": 20}
    assert report.pre_keys_kept == 9
    assert (report.dry_run, planned.dry_run) == (False, True)
    assert (await verify(FolderAuthStateStore(folder))).ok


async def test_the_pre_key_that_baileys_needs_next_stays_always(tmp_path: Path) -> None:
    folder = copied("03-full", tmp_path / "auth")
    await prune(FolderAuthStateStore(folder), "default", PrunePolicy(keep_pre_keys=0))
    assert pre_keys(folder) == {30}
    # What the credentials do not know of yet is not theirs to judge.
    (folder / "pre-key-31.json").write_bytes((folder / "pre-key-30.json").read_bytes())
    await prune(FolderAuthStateStore(folder), "default", PrunePolicy(keep_pre_keys=0))
    assert pre_keys(folder) == {30, 31}


async def test_closed_and_unused_sessions() -> None:
    store = await in_memory("03-full")
    now, day = int(time.time() * 1000), 86_400_000
    old = now - 40 * day
    texts = {
        "mixed.0": session_record(old, -1, now - day, used=now),
        "closed.0": session_record(old, old, used=old),
        "unused.0": session_record(-1, used=old),
        "torn.0": '{"_sessions":{"B0":{"ind',
        "empty.0": '{"_sessions":{},"version":"v1"}',
    }
    await store.write(session="one", changes={RecordName("session", id_): text for id_, text in texts.items()})
    report = await prune(store, "one")
    assert report.deleted == {"session": 1}
    assert (report.sessions_trimmed, report.closed_sessions) == (1, 1)
    kept = {name.id: text async for name, text in store.records(session="one", type="session")}
    assert "closed.0" not in kept
    assert kept["torn.0"] == texts["torn.0"]
    assert kept["mixed.0"] == texts["mixed.0"].replace(
        f'"B0":{{"indexInfo":{{"closed":{old},"used":{now}}},"_chains":{{}}}},', ""
    )
    report = await prune(store, "one", PrunePolicy(closed_sessions_days=None, unused_sessions_days=39))
    assert RecordName("session", "unused.0") not in await store.read(session="one", names=[RecordName("session", "unused.0")])
    assert report.deleted["session"] >= 1


async def test_groups_that_were_left(tmp_path: Path) -> None:
    folder = copied("03-full", tmp_path / "auth")
    group = "120363000000000001@g.us"
    report = await prune(FolderAuthStateStore(folder), "default", PrunePolicy(left_groups=[group]))  # type: ignore[arg-type]
    assert report.deleted == {"sender-key": 2, "sender-key-memory": 1}
    assert not [path for path in folder.iterdir() if group in path.name]
    assert len(list(folder.glob("sender-key-*"))) == 6


async def test_what_cannot_be_judged_is_left_alone() -> None:
    store = await in_memory("03-full")
    await store.write(session="one", changes={CREDS: "{"})
    with pytest.raises(CredsCorrupted):
        await prune(store, "one", PrunePolicy(keep_pre_keys=0))
    await store.write(session="one", changes={CREDS: None})
    with pytest.raises(SessionNotFound):
        await prune(store, "one", PrunePolicy(keep_pre_keys=0))
    assert len([name async for name, _ in store.records(session="one", type="pre-key")]) == 29


async def test_not_while_a_program_has_it() -> None:
    store = await in_memory("03-full")
    async with store.hold(session="one"):
        with pytest.raises(SessionInUse):
            await prune(store, "one", PrunePolicy(keep_pre_keys=0))


async def test_one_write_or_none() -> None:
    class Failing(MemoryAuthStateStore):
        async def write(self, *, session: str, changes: Mapping[RecordName, str | None]) -> None:
            if any(text is None for text in changes.values()):
                raise OSError("gone")
            await super().write(session=session, changes=changes)

    source, store = await in_memory("03-full"), Failing()
    await store.write(session="one", changes={name: text async for name, text in source.records(session="one")})
    with pytest.raises(StoreUnavailable):
        await prune(store, "one", PrunePolicy(keep_pre_keys=0))
    assert len([name async for name, _ in store.records(session="one", type="pre-key")]) == 29


@pytest.mark.parametrize(
    "options",
    [{"keep_pre_keys": -1}, {"keep_pre_keys": 1.5}, {"closed_sessions_days": True}, {"left_groups": "x"}, {"left_groups": [1]}],
)
def test_wrong_policies(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        PrunePolicy(**options)
