"""The messages of a login: which key finds which, what comes back, and what is done when a database fails."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from pyee.asyncio import AsyncIOEventEmitter
from pyee.base import EventEmitter

from wwauth._messages import MemoryMessageBackend
from wwauth.authstate.messages import MessageStore
from wwauth.errors import ConfigurationError, SessionClosed, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wwauth._messages import MessageRow

PHONE, LID, GROUP = "15551234567@s.whatsapp.net", "987654321@lid", "123456-789@g.us"
SECRET = bytes(range(32))


def key(id_: str = "A1", chat: str = PHONE, *, me: bool | None = None, **more: object) -> dict[str, object]:
    return {"remoteJid": chat, "id": id_, **({} if me is None else {"fromMe": me}), **more}


def text(words: str) -> dict[str, object]:
    return {"conversation": words}


def field(number: int, content: bytes) -> bytes:
    """A field of an encoded protobuf message that has a length."""
    tag = number << 3 | 2
    head = bytes([tag]) if tag < 128 else bytes([tag & 127 | 128, tag >> 7])
    return head + bytes([len(content)]) + content


ENCODED = field(1, b"hi") + field(35, b"\x10\x02" + field(3, SECRET))


NO_PROTOBUF = [b"\xff" * 50, b"\x9a", ENCODED[:-5], b"\x9a\x02\xff\xff\x7f", field(35, b"\x1a\xff"), b"\x01"]


class Own:
    """The least emitter there can be: it knows `on`, and calls its handlers."""

    def __init__(self) -> None:
        self.handlers: list[tuple[str, Callable[..., object]]] = []

    def on(self, event: str, handler: Callable[..., object]) -> None:
        self.handlers.append((event, handler))

    def emit(self, event: str, *told: object) -> None:
        for name, handler in self.handlers:
            if name == event:
                handler(*told)


class Failing(MemoryMessageBackend):
    """A backend that can be out of reach; nothing else about it is different."""

    def __init__(self) -> None:
        super().__init__()
        self.out = False

    async def put_many(self, *, session: str, rows: Sequence[MessageRow]) -> None:
        if self.out:
            raise StoreUnavailable("cannot save: the database is out of reach; try again when it answers")
        await super().put_many(session=session, rows=rows)


async def test_a_message_is_found_by_chat_id_and_who_sent_it() -> None:
    async with MessageStore() as store:
        await store.put({"key": key(me=True), "message": text("mine")}, {"key": key(), "message": text("theirs")})
        assert await store.get_message(key(me=True)) == text("mine")
        assert await store.get_message(key(me=False)) == await store.get_message(key()) == text("theirs")
        assert await store.get_message(SimpleNamespace(remote_jid=PHONE, id="A1", from_me=True)) == text("mine")
        assert await store.get_message(key("A2")) is None
        assert await store.get_message(key(chat="15557654321@s.whatsapp.net")) is None
        assert await store.get_message(key(chat=LID)) is None
        for nothing in ({}, None, {"id": "A1"}, {"remoteJid": PHONE}, {"remoteJid": PHONE, "id": ""}):
            assert await store.get_message(nothing) is None


@pytest.mark.parametrize("first", [PHONE, LID])
async def test_a_chat_is_found_by_either_address(first: str) -> None:
    second = LID if first == PHONE else PHONE
    async with MessageStore() as store:
        await store.put({"key": key(chat=first, me=True, remoteJidAlt=second), "message": text("hi")})
        await store.put({"key": key("B2", chat=first), "message": text("no word of the other")})
        assert await store.get_message(key(chat=first, me=True)) == text("hi")
        assert await store.get_message(key(chat=second, me=True)) == text("hi")
        assert await store.get_message(key(chat="1@lid", me=True, remoteJidAlt=first)) == text("hi")
        assert await store.get_message(key(chat=second.replace("@", ":7@"), me=True)) == text("hi")
        assert await store.get_message(key("B2", chat=second)) == text("no word of the other")


async def test_the_pairs_that_a_socket_learns_count_too() -> None:
    emitter = EventEmitter()
    async with MessageStore() as store:
        store.bind(emitter)
        await store.put({"key": key(me=True), "message": text("sent to the number")})
        assert await store.get_message(key(chat=LID, me=True)) is None
        emitter.emit("lid-mapping.update", {"lid": LID, "pn": PHONE})
        assert await store.get_message(key(chat=LID, me=True)) == text("sent to the number")


async def test_members_of_a_group_who_use_one_id_do_not_replace_each_other() -> None:
    async with MessageStore() as store:
        one, two = (
            dict[str, Any]({"participant": "1@lid"}),
            dict[str, Any]({"participant": "2@lid", "participantAlt": "22@s.whatsapp.net"}),
        )
        await store.put(
            {"key": key(chat=GROUP, **one), "message": text("poll")},
            {"key": key(chat=GROUP, **two), "message": text("forged")},
            {"key": key("MINE", chat=GROUP, me=True, participant="9@lid"), "message": text("mine")},
        )
        assert await store.get_message(key(chat=GROUP, **one)) == text("poll")
        assert await store.get_message(key(chat=GROUP, participant="22:5@s.whatsapp.net")) == text("forged")
        assert await store.get_message(key(chat=GROUP, participant="3@lid")) is None
        # Who asks for a message once more is the participant of a key that is this login's own.
        assert await store.get_message(key("MINE", chat=GROUP, me=True, participant="1@lid")) == text("mine")


@pytest.mark.parametrize(
    "secret",
    [
        SECRET,
        base64.b64encode(SECRET).decode(),
        {"type": "Buffer", "data": base64.b64encode(SECRET).decode()},
        {"type": "Buffer", "data": list(SECRET)},
    ],
    ids=["bytes", "base64", "Buffer", "plain JSON"],
)
async def test_bytes_in_a_mapping_come_back_as_bytes(secret: object) -> None:
    message = {
        "pollCreationMessage": {"name": "when?", "options": [{"optionName": "now"}]},
        "imageMessage": {"mediaKey": base64.b64encode(b"k" * 32).decode(), "caption": "YWJj"},
        "messageContextInfo": {"messageSecret": secret, "botMetadata": {"mediaKey": "YWJj"}},
    }
    before = json.dumps(message, default=repr)
    async with MessageStore() as store:
        await store.put({"key": key(me=True), "message": message}, {"key": key("W"), "message": {"x": {"message": message}}})
        back = await store.get_message(key(me=True))
        assert back["messageContextInfo"] == {"messageSecret": SECRET, "botMetadata": {"mediaKey": "YWJj"}}
        assert back["imageMessage"] == {"mediaKey": b"k" * 32, "caption": "YWJj"}
        assert list(back) == list(message)
        assert await store.get_message_secret(key(me=True)) == SECRET
        assert await store.get_message_secret(key("W")) == SECRET
        back.clear()
        assert await store.get_message(key(me=True))
    assert json.dumps(message, default=repr) == before


async def test_protobuf_bytes_stay_as_they_are() -> None:
    class Message:
        def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
            return ENCODED

    wrapped = field(31, field(1, b"chat") + field(2, field(40, field(1, ENCODED))))
    async with MessageStore() as store:
        for number, message in enumerate([ENCODED, bytearray(ENCODED), Message(), wrapped]):
            await store.put({"key": key(str(number)), "message": message})
            assert await store.get_message(key(str(number))) == (wrapped if message is wrapped else ENCODED)
            assert await store.get_message_secret(key(str(number))) == SECRET


@pytest.mark.parametrize("encoded", NO_PROTOBUF)
async def test_bytes_that_are_no_protobuf_are_kept_and_have_no_secret(encoded: bytes) -> None:
    async with MessageStore() as store:
        await store.put({"key": key(), "message": encoded})
        assert await store.get_message(key()) == encoded
        assert await store.get_message_secret(key()) is None


async def test_a_message_without_content_is_not_there() -> None:
    async with MessageStore() as store:
        for nothing in (None, {}, b"", {"conversation": None}):
            await store.put({"key": key(), "message": nothing})
        await store.put({"key": key()})
        assert await store.get_message(key()) is None
        assert await store.get_message_secret(key()) is None


async def test_one_message_that_cannot_be_stored_does_not_lose_the_others() -> None:
    async with MessageStore() as store:
        with pytest.raises(ConfigurationError, match="of type int"):
            await store.put({"key": key("1"), "message": 5}, {"key": key("2"), "message": text("fine")})
        assert await store.get_message(key("2")) == text("fine")
        for keyless in (
            {"message": text("x")},
            {"key": {"id": "1"}, "message": text("x")},
            [{"key": key(), "message": {}}],
            None,
        ):
            with pytest.raises(ConfigurationError, match="without a key"):
                await store.put(keyless, {"key": key("3"), "message": text("fine")})
        assert await store.get_message(key("3")) == text("fine")


async def test_the_oldest_go_when_there_are_too_many() -> None:
    async with MessageStore(max_messages=3) as store:
        for number in range(5):
            await store.put({"key": key(str(number)), "message": text("x")})
        await store.put({"key": key("2"), "message": text("again, so newest")})
        await store.put({"key": key("5"), "message": text("x")})
        found = [number for number in range(6) if await store.get_message(key(str(number)))]
        assert found == [2, 4, 5]
    backend = MemoryMessageBackend()
    async with MessageStore(backend, max_messages=2000) as store:
        await store.put(*({"key": key(str(number)), "message": text("x")} for number in range(6000)))
        assert 1900 <= await backend.count(session="default") <= 2000
        assert await store.get_message(key("5999"))


async def test_what_is_too_old_is_gone() -> None:
    backend = MemoryMessageBackend()
    async with MessageStore(backend, max_age=None) as store:
        await store.put({"key": key(), "message": text("x")})
        (row,) = await backend.get(session="default", id="A1")
        await backend.put_many(session="default", rows=[row._replace(stored=1)])
        assert await store.get_message(key())
    async with MessageStore(backend, max_age=3600) as store:
        assert await store.get_message(key()) is None
        await store.put({"key": key("B"), "message": text("x")})
        assert await backend.count(session="default") == 1


async def test_sessions_share_a_database_and_no_message() -> None:
    backend = MemoryMessageBackend()
    one, two = MessageStore(backend, session="one"), MessageStore(backend, session="two")
    for store in (one, two):
        await store.put({"key": key(), "message": text(repr(store))})
    await one.clear()
    assert await one.get_message(key()) is None
    assert await two.get_message(key()) == text(repr(two))


@pytest.mark.parametrize("kind", [AsyncIOEventEmitter, EventEmitter, Own])
async def test_an_emitter_fills_it(kind: Callable[[], Any]) -> None:
    emitter = kind()
    store = MessageStore()
    binding = store.bind(emitter)
    emitter.emit("messages.upsert", {"type": "notify", "messages": [{"key": key(), "message": text("hi")}, {"key": key("E")}]})
    emitter.emit("messaging-history.set", {"messages": [{"key": key("H"), "message": text("history")}], "chats": []})
    emitter.emit("messages.update", [{"key": key("E"), "update": {"message": text("late")}}, {"key": key("H"), "update": {}}])
    emitter.emit("messages.update", [{"key": key(), "update": {"message": {"editedMessage": {"message": text("new")}}}}])
    thread = threading.Thread(
        target=emitter.emit, args=("messages.upsert", {"messages": [{"key": key("T"), "message": text("thread")}]})
    )
    thread.start()
    thread.join()
    await binding.drain()
    found = [await store.get_message(key(id_)) for id_ in ("A1", "E", "H", "T")]
    assert found == [text("hi"), text("late"), text("history"), text("thread")]
    binding.unbind()
    emitter.emit("messages.upsert", {"messages": [{"key": key("Z"), "message": text("x")}]})
    await store.close()


async def test_what_was_emitted_is_saved_by_close() -> None:
    emitter, backend = EventEmitter(), MemoryMessageBackend()
    store = MessageStore(backend)
    store.bind(emitter)
    for number in range(1200):
        emitter.emit("messages.upsert", {"messages": [{"key": key(str(number)), "message": text("x")}]})
    await store.close()
    assert await backend.count(session="default") == 1200
    with pytest.raises(SessionClosed):
        await store.get_message(key())
    with pytest.raises(SessionClosed):
        await store.put()


class Closing(MemoryMessageBackend):
    """Holds its first call up, and is not to be used once it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.closed = 0

    async def put_many(self, *, session: str, rows: Sequence[MessageRow]) -> None:
        assert not self.closed
        self.begun.set()
        await self.go.wait()
        await super().put_many(session=session, rows=rows)

    async def get(self, *, session: str, id: str) -> list[MessageRow]:  # noqa: A002
        self.begun.set()
        await self.go.wait()
        assert not self.closed
        return await super().get(session=session, id=id)

    async def close(self) -> None:
        assert not self.closed
        await asyncio.sleep(0)
        self.closed += 1


async def test_an_end_waits_for_the_calls_that_are_under_way() -> None:
    backend = Closing()
    store = MessageStore(backend)
    putting = asyncio.create_task(store.put(*({"key": key(str(n)), "message": text("x")} for n in range(1200))))
    asking = asyncio.create_task(store.get_message(key("0")))
    await backend.begun.wait()

    async def close() -> int:
        await store.close()
        return backend.closed

    closing = asyncio.gather(close(), close())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not backend.closed
    backend.go.set()
    assert list(await closing) == [1, 1]
    await putting
    assert await asking == text("x")
    assert await backend.count(session="default") == 1200


async def test_a_database_out_of_reach_is_told_of_and_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    backend, emitter, errors = Failing(), EventEmitter(), list[object]()
    store = MessageStore(backend)
    binding = store.bind(emitter)
    backend.out = True
    with caplog.at_level(logging.ERROR):
        emitter.emit("messages.upsert", {"messages": [{"key": key("1"), "message": text("secret words")}]})
        await binding.drain()
    assert "out of reach" in caplog.text
    assert "secret words" not in caplog.text
    emitter.on("error", errors.append)
    emitter.emit("messages.upsert", {"messages": [{"key": key("2"), "message": text("x")}]})
    await binding.drain()
    assert [type(error) for error in errors] == [StoreUnavailable]
    assert await store.get_message(key("1"))
    with pytest.raises(StoreUnavailable):
        await store.flush()
    backend.out = False
    await store.put({"key": key("3"), "message": text("x")})
    assert await backend.count(session="default") == 3
    await store.close()


@pytest.mark.parametrize(
    "wrong",
    [{"max_age": 0}, {"max_age": "1"}, {"max_messages": 0}, {"max_messages": True}, {"session": "a/b"}],
    ids=str,
)
def test_wrong_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        MessageStore(**wrong)


def test_what_has_no_on_cannot_be_bound() -> None:
    with pytest.raises(ConfigurationError, match="emitter of type object"):
        MessageStore().bind(object())
