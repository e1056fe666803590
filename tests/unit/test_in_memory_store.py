"""Chats, contacts and messages in memory: what each event does, and the file that outlives a crash."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections import UserDict
from collections.abc import Iterator, KeysView, Mapping
from typing import TYPE_CHECKING, Any

import pytest
from pyee.base import EventEmitter

from wwauth.authstate.in_memory_store import InMemoryStore, make_in_memory_store
from wwauth.errors import ConfigurationError, SessionCorrupted, StoreDenied, StoreUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from ..conftest import RequireOptional

JID = "15551234567@s.whatsapp.net"

# What the guide's program writes: JSON.stringify of the entries, here of messages with bytes in both of Node's forms.
STRINGIFY = """
const Own = { toJSON: () => ({ mediaKey: 'AAEC', timestamp: '1735689600123' }) }
const message = { key: { remoteJid: 'a@lid', id: 'A' }, messageTimestamp: { low: 5, high: 0, unsigned: true }, message: Own,
  secret: Buffer.from([0, 1, 255]), empty: Buffer.alloc(0), array: new Uint8Array([7, 8]),
  list: [undefined, 1e21, 1e-7, -0, 0.1],
  text: '{"type":"Buffer","data":"AAEC"} \\u2028 \\ud83d\\ude00 "\\\\', 2: 'two', 10: 'ten', lone: '\\ud800' }
const entries = (map) => Array.from(map.entries())
process.stdout.write(JSON.stringify({ chats: entries(new Map([['a@lid', { id: 'a@lid', unreadCount: 2 }]])),
  contacts: entries(new Map([['a@lid', { id: 'a@lid', name: 'Zoë' }]])),
  messages: entries(new Map([['a@lid', [message]], ['a@lid_B', { conversation: 'x' }]])), own: { more: [1] } }))
"""


def message(id_: str, chat: str = JID, **more: object) -> dict[str, Any]:
    return {"key": {"remoteJid": chat, "id": id_}, "message": {"conversation": id_}, "messageTimestamp": 1735689600, **more}


def ids(messages: list[Any]) -> list[str]:
    return [one["key"]["id"] for one in messages]


@pytest.fixture
def emitter() -> EventEmitter:
    return EventEmitter()


@pytest.fixture
def store(emitter: EventEmitter) -> InMemoryStore:
    store = make_in_memory_store(max_messages_per_chat=5)
    store.bind(emitter)
    return store


def upsert(emitter: EventEmitter, *messages: object, kind: str = "append") -> None:
    emitter.emit("messages.upsert", {"messages": list(messages), "type": kind})


def test_chats_and_contacts_are_kept_as_the_events_tell(store: InMemoryStore, emitter: EventEmitter) -> None:
    chat = {"id": JID, "unreadCount": 2}
    emitter.emit("chats.upsert", [chat, {"id": "b@lid"}])
    emitter.emit("chats.update", [{"id": JID, "unreadCount": 3, "name": "N"}, {"id": "unknown@lid", "name": "nobody"}])
    assert store.chats[JID] == {"id": JID, "unreadCount": 5, "name": "N"}
    assert chat == {"id": JID, "unreadCount": 2}
    emitter.emit("chats.update", [{"id": JID, "unreadCount": 0}])
    assert store.chats[JID]["unreadCount"] == 0
    emitter.emit("contacts.upsert", [{"id": JID, "name": "A", "imgUrl": "x"}])
    emitter.emit("contacts.upsert", [{"id": JID, "notify": "a"}])
    emitter.emit("contacts.update", [{"id": JID, "imgUrl": "removed"}, {"id": "unknown@lid"}])
    assert store.contacts == {JID: {"id": JID, "name": "A", "notify": "a"}}
    upsert(emitter, message("1"))
    emitter.emit("chats.delete", [JID, "unknown@lid"])
    assert list(store.chats) == ["b@lid"]
    assert store.load_messages(JID, 9) == []


def test_messages_are_in_their_order_and_the_oldest_go(store: InMemoryStore, emitter: EventEmitter) -> None:
    upsert(emitter, message("1"), message("2"))
    upsert(emitter, message("3", JID.replace("@", ":7@")), kind="notify")
    upsert(emitter, message("9"), kind="another kind")
    assert ids(store.messages[JID]) == ["1", "2", "3"]
    assert store.chats[JID] == {"id": JID, "conversationTimestamp": 1735689600, "unreadCount": 1}
    upsert(emitter, message("2", pushName="again"), *(message(str(number)) for number in range(4, 8)))
    assert ids(store.load_messages(JID, 99)) == ["3", "4", "5", "6", "7"]
    assert ids(store.load_messages(JID, 2)) == ["6", "7"]
    assert ids(store.load_messages(JID, 2, {"before": {"id": "6"}})) == ["4", "5"]
    assert ids(store.load_messages(JID, 2, {"after": {"id": "4"}})) == ["5", "6"]
    assert store.load_messages(JID, 2, {"before": {"id": "gone"}}) == []
    assert store.load_messages(JID, 0) == store.load_messages("other@lid", 5) == []
    assert store.load_message(JID, "5") == message("5")
    assert store.load_message(JID, "1") is None
    assert store.most_recent_message(JID) == message("7")
    assert store.most_recent_message("other@lid") is None
    emitter.emit("messages.delete", {"keys": [message("5")["key"], message("gone")["key"]]})
    assert ids(store.messages[JID]) == ["3", "4", "6", "7"]
    emitter.emit("messages.delete", {"jid": JID, "all": True})
    assert JID not in store.messages


@pytest.mark.parametrize(
    ("before", "after", "kept"), [(3, 4, 4), (4, 3, 4), ("READ", 3, "READ"), (3, "READ", "READ"), (None, 1, 1)]
)
def test_a_status_is_never_lowered(
    store: InMemoryStore, emitter: EventEmitter, before: object, after: object, kept: object
) -> None:
    first = message("1") if before is None else message("1", status=before)
    upsert(emitter, first)
    emitter.emit("messages.update", [{"key": first["key"], "update": {"status": after, "starred": True}}])
    emitter.emit("messages.update", [{"key": message("gone")["key"], "update": {"status": 5}}])
    assert store.load_message(JID, "1") == {**first, "status": kept, "starred": True}
    upsert(emitter, message("1", status=1))
    assert store.load_message(JID, "1")["status"] == kept
    assert "starred" not in first


def test_history_comes_before_what_is_there(store: InMemoryStore, emitter: EventEmitter) -> None:
    emitter.emit("chats.upsert", [{"id": JID, "name": "known"}])
    upsert(emitter, message("3"))
    told = {"chats": [{"id": JID}, {"id": "b@lid"}], "contacts": [{"id": JID}], "messages": [message("2"), message("1")]}
    emitter.emit("messaging-history.set", {**told, "syncType": 6})
    assert list(store.chats) == [JID]
    emitter.emit("messaging-history.set", {**told, "isLatest": False})
    assert store.chats[JID] == {"id": JID, "name": "known"}
    assert list(store.chats) == [JID, "b@lid"]
    assert list(store.contacts) == [JID]
    assert ids(store.messages[JID]) == ["1", "2", "3"]
    emitter.emit("messaging-history.set", {**told, "isLatest": True})
    assert store.chats[JID] == {"id": JID}
    assert ids(store.messages[JID]) == ["1", "2"]


def test_events_without_content_change_nothing(store: InMemoryStore, emitter: EventEmitter) -> None:
    names = ["messaging-history.set", "chats.upsert", "chats.update", "chats.delete", "contacts.upsert", "contacts.update"]
    for event in [*names, "messages.upsert", "messages.update", "messages.delete"]:
        nothings: list[Any] = [None, {}, [], [{}], [None], {"messages": [{}], "type": "notify"}, {"keys": [{}]}]
        for told in nothings:
            emitter.emit(event, told)
    assert not store.chats
    assert not store.contacts
    assert not store.messages


@pytest.mark.parametrize("given", [None, 5, b"file", "", "https://host/file"])
async def test_what_is_no_path_is_refused(given: Any) -> None:
    store = make_in_memory_store()
    for call in (store.read_from_file, store.write_to_file):
        with pytest.raises(ConfigurationError, match="invalid path"):
            await call(given)
    with pytest.raises(ConfigurationError, match="invalid path"):
        store.autosave(given)


async def test_the_guides_file_is_written_back_as_it_was(tmp_path: Path, require_optional: RequireOptional) -> None:
    import shutil

    node = shutil.which("node")
    require_optional(node, "install Node")
    assert node is not None
    path = tmp_path / "baileys_store.json"
    made = await asyncio.create_subprocess_exec(node, "-e", STRINGIFY, stdout=subprocess.PIPE)
    path.write_bytes((await made.communicate())[0])
    before = path.read_bytes()
    store = make_in_memory_store()
    await store.read_from_file(path)
    kept = store.load_message("a@lid", "A")
    assert (kept["secret"], kept["empty"], kept["array"]) == (b"\0\1\xff", b"", {"0": 7, "1": 8})
    assert store.messages["a@lid_B"] == {"conversation": "x"}
    await store.write_to_file(path)
    assert path.read_bytes() == before
    assert path.with_name("baileys_store.json.bak").read_bytes() == before
    if sys.platform != "win32":
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(sys.platform == "win32", reason="only POSIX systems have modes")
@pytest.mark.parametrize("links", [True, False])
async def test_nobody_else_reads_it_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, links: bool
) -> None:
    modes: list[int] = []

    def refused(*_: object) -> None:
        raise PermissionError

    class Watching(UserDict[str, str]):
        def keys(self) -> KeysView[str]:
            modes.extend(path.stat().st_mode & 0o777 for path in tmp_path.glob(".store.json.*"))
            return super().keys()

    if not links:
        monkeypatch.setattr(os, "link", refused)
    store = make_in_memory_store()
    for _ in range(2):
        store.chats[JID] = Watching(id=JID)
        await store.write_to_file(tmp_path / "store.json")
    assert modes
    assert {*modes, *(path.stat().st_mode & 0o777 for path in tmp_path.iterdir())} == {0o600}


async def test_older_files_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "store.json"
    old = {"chats": [{"id": JID}], "contacts": {JID: {"id": JID}}, "messages": {JID: [message("1")]}}
    path.write_text(json.dumps(old))
    store = make_in_memory_store()
    await store.read_from_file(path)
    await store.write_to_file(path)
    pairs = {"chats": [[JID, {"id": JID}]], "contacts": [[JID, {"id": JID}]], "messages": [[JID, [message("1")]]]}
    assert json.loads(path.read_bytes()) == pairs
    path.write_text('{"chats":[5]}')
    with pytest.raises(SessionCorrupted, match="chats"):
        await store.read_from_file(path)
    assert list(store.chats) == [JID]


@pytest.mark.parametrize("torn", [b"", b'{"chats":[["a', b"null", b"\xff", b"[" * 100_000, b'{"chats":[NaN]}'])
async def test_a_torn_file_is_kept_aside_and_its_last_good_copy_read(
    tmp_path: Path, torn: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "store.json"
    store = make_in_memory_store()
    for name in ("first", "second"):
        store.chats[JID] = {"id": JID, "name": name}
        await store.write_to_file(path)
    path.write_bytes(torn)
    again = make_in_memory_store()
    with caplog.at_level(logging.WARNING):
        await again.read_from_file(path)
    assert again.chats[JID]["name"] == "first"
    assert "store.json.torn" in caplog.text
    assert (tmp_path / "store.json.torn").read_bytes() == torn
    assert b"first" in path.read_bytes()
    (tmp_path / "store.json.bak").unlink()
    path.write_bytes(torn)
    await again.read_from_file(path)
    assert not again.chats
    assert (tmp_path / "store.json.torn.2").read_bytes() == torn
    await again.read_from_file(path)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["store.json.torn", "store.json.torn.2"]


async def test_what_another_program_left_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "store.json"
    path.write_bytes(b'{"chats":[["other",{}]]}')
    store = make_in_memory_store()
    store.chats[JID] = {}
    await store.write_to_file(path)
    assert (tmp_path / "store.json.bak").read_bytes() == b'{"chats":[["other",{}]]}'
    path.write_bytes(b"torn")
    await store.write_to_file(path)
    assert (tmp_path / "store.json.torn").read_bytes() == b"torn"
    assert (tmp_path / "store.json.bak").read_bytes() == b'{"chats":[["other",{}]]}'


async def test_autosave_writes_what_changed_and_nothing_else(
    tmp_path: Path, emitter: EventEmitter, store: InMemoryStore
) -> None:
    path = tmp_path / "store.json"
    async with store.autosave(path, interval=0.01):
        emitter.emit("chats.upsert", [{"id": JID}])
        async with asyncio.timeout(30):
            while not path.exists():  # noqa: ASYNC110 - a file's coming has no event
                await asyncio.sleep(0.01)
        written = path.stat().st_mtime_ns, path.stat().st_ino
        await asyncio.sleep(0.1)
        assert (path.stat().st_mtime_ns, path.stat().st_ino) == written
    emitter.emit("chats.upsert", [{"id": "late@lid"}])
    assert b"late" not in path.read_bytes()
    store.autosave(path).start()
    emitter.emit("chats.upsert", [{"id": "later@lid"}])
    await store.close()
    assert b"late@lid" in path.read_bytes()
    assert b"later@lid" in path.read_bytes()
    emitter.emit("chats.upsert", [{"id": "unbound@lid"}])
    assert "unbound@lid" not in store.chats


async def test_an_autosave_that_fails_at_the_end_leaves_no_other_one_running(tmp_path: Path, store: InMemoryStore) -> None:
    (tmp_path / "folder").mkdir()
    savings = [store.autosave(tmp_path / name) for name in ("first.json", "folder", "last.json")]
    for saving in savings:
        saving.start()
    before = asyncio.all_tasks()
    store.chats[JID] = {"id": JID}
    with pytest.raises(StoreUnavailable):
        await store.close()
    assert len(before - asyncio.all_tasks()) == len(savings)
    assert (tmp_path / "first.json").read_bytes() == (tmp_path / "last.json").read_bytes()


async def test_an_empty_store_does_not_replace_a_file(tmp_path: Path) -> None:
    path = tmp_path / "store.json"
    path.write_bytes(b'{"chats":[["a",{}]]}')
    async with make_in_memory_store().autosave(path):
        pass
    assert path.read_bytes() == b'{"chats":[["a",{}]]}'


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="for root no folder is read-only")
async def test_a_file_that_cannot_be_written_is_told_of(tmp_path: Path) -> None:
    store = make_in_memory_store()
    store.chats[JID] = {}
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreDenied):
            await store.write_to_file(tmp_path / "store.json")
    finally:
        tmp_path.chmod(0o700)


async def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "store.json"
    store = make_in_memory_store()
    store.chats[JID] = {"id": JID}
    await store.write_to_file(path)
    before = path.read_bytes()
    store.chats[JID] = {"id": object()}
    with pytest.raises(ConfigurationError, match="object"):
        await store.write_to_file(path)
    saving = store.autosave(path, interval=0.01)
    saving.start()
    async with asyncio.timeout(30):
        while "will be tried again" not in caplog.text:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
    with pytest.raises(ConfigurationError):
        await saving.close()
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["store.json"]


class Restless(Mapping[str, int]):
    """A message's part that its program changes while it is encoded, as often as it was told."""

    def __init__(self, times: int) -> None:
        self.times = times

    def __iter__(self) -> Iterator[str]:
        if self.times:
            self.times -= 1
            raise RuntimeError("dictionary changed size during iteration")
        return iter(["calm"])

    def __len__(self) -> int:
        return 1

    def __getitem__(self, key: str) -> int:
        return 1


async def test_what_changes_while_it_is_encoded_is_encoded_again(tmp_path: Path) -> None:
    path = tmp_path / "store.json"
    store = make_in_memory_store()
    store.chats[JID] = Restless(2)
    await store.write_to_file(path)
    assert json.loads(path.read_bytes())["chats"] == [[JID, {"calm": 1}]]
    store.chats[JID] = Restless(1000)
    with pytest.raises(StoreUnavailable, match="changes all the time"):
        await store.write_to_file(path)
    assert b"calm" in path.read_bytes()


@pytest.mark.parametrize("wrong", [0, -1, True, 1.5, "1"])
def test_wrong_arguments_are_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_messages_per_chat"):
        make_in_memory_store(max_messages_per_chat=wrong)
    with pytest.raises(ConfigurationError, match="interval"):
        make_in_memory_store().autosave("x", interval=-1)


async def test_what_cannot_be_saved_is_named(tmp_path: Path) -> None:
    store = make_in_memory_store()
    store.chats["one"] = {"id": "one", "unfit": object()}
    with pytest.raises(ConfigurationError, match="the entry 'one' of chats"):
        await store.write_to_file(tmp_path / "store.json")
    assert not list(tmp_path.iterdir())
