"""
What every auth state promises, as tests: Baileys' `(state, save_creds)` over some storage, without its losses.

Subclass `AuthStateContract` in a test module of yours and give it one fixture, which opens a session of one storage anew with
each call::

    class TestMyAuthState(AuthStateContract):
        @pytest.fixture
        def open_state(self, tmp_path):
            async def open_state(session):
                return await use_auth_state(MyAuthStateStore(tmp_path), session=session)

            return open_state

It needs pytest and pytest-asyncio, in either of its modes. States that a test leaves open are closed for it.
"""

# ruff: noqa: S101 - tests assert

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from wwauth.abc import AuthStateStore
from wwauth.authstate import BufferJSON, init_auth_creds, make_cacheable_signal_key_store
from wwauth.errors import ConfigurationError, CredsCorrupted, MissingDependency, SessionClosed, SessionInUse

try:
    import pytest
    import pytest_asyncio
except ImportError as error:
    raise MissingDependency("AuthStateContract needs pytest: pip install pytest pytest-asyncio") from error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from wwauth.authstate import AuthenticationState

    OpenState = Callable[[str], Awaitable[tuple[AuthenticationState, Callable[[], Awaitable[None]]]]]

__all__ = ["AuthStateContract"]

_PAIR = {"private": b"\1" * 32, "public": b"\2" * 32}

# One of each type as Baileys has it in memory, and what is easily lost on the way.
_VALUES: dict[str, dict[str, Any]] = {
    "pre-key": {"1": _PAIR, "812": _PAIR},
    "session": {"15550003333.12": {"_sessions": {"BQ==": {"registrationId": 5, "_chains": {}}}, "version": "v1"}},
    "sender-key": {"120363000000000001@g.us::99000000000002_1::0": b'[{"senderKeyId":1}]'},
    "sender-key-memory": {"120363000000000001@g.us": {"99000000000002_1.0@lid": True}},
    "app-state-sync-key": {"++++//8+": {"keyData": "AAEC", "timestamp": "1735689600123"}},
    "lid-mapping": {"15550001111": "99000000000001", "99000000000001_reverse": "15550001111"},
    "device-list": {"15550001111": ["0", "7"]},
    "tctoken": {"__index": {"token": b"[]"}, "99000000000002@lid": {"token": b"\0\xff", "timestamp": "1"}},
    "identity-key": {"15550005555.4": b"\5" + bytes(32)},
    # Longer than 65,535 bytes, where some databases cut a text off.
    "app-state-sync-version": {
        "regular_low": {"version": 3, "hash": bytes(128), "indexValueMap": {}},
        "regular": {
            "version": 4,
            "hash": b"\1" * 128,
            "indexValueMap": {f"{n:043}=": {"valueMac": bytes(32)} for n in range(700)},
        },
    },
    "a-type-of-tomorrow": {"é 😀": {"z": 1, "a": [], "10": 1.5, "2": None, "text": "\x00\u2028\ud800"}},
}

_REAL_TYPES = 10


class AuthStateContract:
    """
    The tests of an auth state; the module's docstring says how to use them.

    Attributes:
        many_sessions: One storage holds many sessions; a folder holds one.
        exact_ids: Ids that differ are kept apart, also where Baileys' file names run them together.
    """

    many_sessions: ClassVar[bool] = True
    exact_ids: ClassVar[bool] = True

    @pytest.fixture
    def open_state(self) -> OpenState:
        """Return what opens a session of one storage, anew with each call; yours to override."""
        raise NotImplementedError("give this class a fixture open_state: the module's docstring shows one")

    @pytest_asyncio.fixture
    async def opened(self, open_state: OpenState) -> AsyncIterator[Callable[..., Awaitable[AuthenticationState]]]:
        """Open sessions whose states are closed at the end, a closed one once more."""
        states = []

        async def opened(session: str = "one", *, saved: bool = True) -> AuthenticationState:
            state, save_creds = await open_state(session)
            states.append(state)
            if saved:
                await save_creds()
            return state

        yield opened
        for state in states:
            await state.close()

    # Credentials

    @pytest.mark.asyncio
    async def test_credentials_come_back_as_they_were(self, opened: Any) -> None:
        """All of them, bytes as bytes, unknown keys too, in their order."""
        state = await opened()
        state.creds["me"] = {"id": "15550001111:7@s.whatsapp.net", "name": "Ünïcode 😀", "lid": None}
        state.creds["routingInfo"] = b"\x00\xff"
        state.creds["ofTomorrow"] = {"10": [1, 2.5, -0.0], "2": {"deep": b""}, "b": True}
        await state.save_creds()
        before = BufferJSON.dumps(state.creds)
        await state.close()
        again = await opened(saved=False)
        assert BufferJSON.dumps(again.creds) == before
        assert again.creds["routingInfo"] == b"\x00\xff"

    @pytest.mark.asyncio
    async def test_an_identity_that_was_not_saved_is_not_there(self, opened: Any) -> None:
        """Opening alone stores nothing; what is saved once stays the same identity."""
        first = await opened(saved=False)
        await first.close()
        second = await opened()
        assert second.creds["noiseKey"] != first.creds["noiseKey"]
        await second.close()
        assert (await opened(saved=False)).creds == second.creds

    @pytest.mark.asyncio
    async def test_credentials_that_are_no_login_replace_nothing(self, opened: Any) -> None:
        """A key that was cut off is refused, and what is stored stays."""
        state = await opened()
        good = BufferJSON.dumps(state.creds)
        state.creds["noiseKey"] = {"private": b"short", "public": bytes(32)}
        with pytest.raises(CredsCorrupted, match="noiseKey"):
            await state.save_creds()
        await state.close()
        assert BufferJSON.dumps((await opened(saved=False)).creds) == good

    @pytest.mark.asyncio
    async def test_many_saves_at_once_leave_the_last_state(self, opened: Any) -> None:
        """As after a burst of creds.update events."""
        state = await opened()

        async def update(number: int) -> None:
            state.creds["accountSyncCounter"] = number
            await state.save_creds()

        await asyncio.gather(*(update(number) for number in range(50)))
        await state.close()
        assert (await opened(saved=False)).creds["accountSyncCounter"] == 49

    @pytest.mark.asyncio
    async def test_the_first_keys_bring_their_identity_with_them(self, opened: Any) -> None:
        """Keys without credentials would belong to nobody."""
        state = await opened(saved=False)
        await state.keys.set({"pre-key": {"1": _PAIR}})
        await state.close()
        again = await opened(saved=False)
        assert again.creds == state.creds
        assert await again.keys.get("pre-key", ["1"]) == {"1": _PAIR}

    # Keys

    @pytest.mark.asyncio
    async def test_values_of_every_type_come_back_as_they_were(self, opened: Any) -> None:
        """Bytes as bytes, in the same order, for the same ids."""
        state = await opened()
        await state.keys.set(_VALUES)
        await state.close()
        again = await opened(saved=False)
        for kind, values in _VALUES.items():
            found = await again.keys.get(kind, list(values))
            assert {id_: BufferJSON.dumps(value) for id_, value in found.items()} == {
                id_: BufferJSON.dumps(value) for id_, value in values.items()
            }

    @pytest.mark.asyncio
    async def test_what_is_missing_is_absent(self, opened: Any) -> None:
        """Of the ids that are asked for, those that are there are returned, however many there are."""
        state = await opened()
        assert await state.keys.get("pre-key", ["1", "2"]) == {}
        await state.keys.set({"pre-key": {str(number): _PAIR for number in range(0, 2000, 2)}})
        found = await state.keys.get("pre-key", [str(number) for number in range(2000)])
        assert set(found) == {str(number) for number in range(0, 2000, 2)}
        assert await state.keys.get("session", ["0"]) == {}
        assert await state.keys.get("pre-key", []) == {}

    @pytest.mark.asyncio
    async def test_what_is_false_deletes(self, opened: Any) -> None:
        """None, False, 0 and "" as in Baileys; empty arrays, objects and bytes are values."""
        state = await opened()
        await state.keys.set({"device-list": {name: ["1"] for name in "abcdefg"}})
        await state.keys.set({"device-list": {"a": None, "b": False, "c": 0, "d": "", "e": [], "f": {}, "g": b""}})
        assert await state.keys.get("device-list", list("abcdefg")) == {"e": [], "f": {}, "g": b""}
        await state.keys.set({"device-list": {"missing": None}})

    @pytest.mark.asyncio
    async def test_ids_may_be_written_as_in_a_file_name(self, opened: Any) -> None:
        """Somebody who lists a folder has them so."""
        state = await opened()
        await state.keys.set({"sender-key": {"g@g.us::1_1::0": b"1"}, "app-state-sync-key": {"a/b+": {"keyData": "AA=="}}})
        assert await state.keys.get("sender-key", ["g@g.us--1_1--0"]) == {"g@g.us--1_1--0": b"1"}
        assert await state.keys.get("app-state-sync-key", ["a__b+"]) == {"a__b+": {"keyData": "AA=="}}

    @pytest.mark.asyncio
    async def test_ids_are_kept_apart(self, opened: Any) -> None:
        """By case, by spaces at their ends, by accents; and those that one file name stands for, where that is possible."""
        ids = ["a", "A", "á", "a\u0301", "a ", " a", "a%", "a_", "x" * 180]
        if self.exact_ids:
            ids += ["a:b", "a-b", "a/b", "a__b"]
        state = await opened()
        await state.keys.set({"session": {id_: {"id": id_} for id_ in ids}})
        assert await state.keys.get("session", ids) == {id_: {"id": id_} for id_ in ids}
        await state.keys.set({"session": {"a": None}})
        assert set(await state.keys.get("session", ids)) == set(ids) - {"a"}

    @pytest.mark.asyncio
    async def test_a_set_that_is_refused_changes_nothing(self, opened: Any) -> None:
        """One value that cannot be written keeps all others from being written, too."""
        state = await opened()
        with pytest.raises(ConfigurationError):
            await state.keys.set({"session": {"good": {"a": 1}, "bad": {"a": object()}}})
        assert await state.keys.get("session", ["good", "bad"]) == {}

    @pytest.mark.asyncio
    async def test_a_value_is_the_callers_own(self, opened: Any) -> None:
        """To change what `get` returned, or what `set` was given, changes nothing that is kept."""
        state = await opened()
        keys = make_cacheable_signal_key_store(state.keys)
        value = {"list": [1]}
        await keys.set({"session": {"1": value}})
        value["list"].append(2)
        (await keys.get("session", ["1"]))["1"]["list"].append(3)
        assert await keys.get("session", ["1"]) == {"1": {"list": [1]}}

    @pytest.mark.asyncio
    async def test_clear_deletes_the_keys_and_no_credentials(self, opened: Any) -> None:
        """Keys of all types; the login stays."""
        state = await opened()
        await state.keys.set(_VALUES)
        await state.keys.clear()
        for kind, values in _VALUES.items():
            assert await state.keys.get(kind, list(values)) == {}
        await state.close()
        assert (await opened(saved=False)).creds == state.creds

    @pytest.mark.asyncio
    async def test_ids_can_be_listed(self, opened: Any) -> None:
        """Those of one type, and not of another one that begins with its name; none that was deleted."""
        state = await opened()
        await state.keys.set(_VALUES)
        await state.keys.set({"pre-key": {"2": _PAIR}})
        await state.keys.set({"pre-key": {"2": None}})
        for kind in list(_VALUES)[:_REAL_TYPES]:
            assert sorted(await state.keys.list_ids(kind)) == sorted(_VALUES[kind])

    @pytest.mark.asyncio
    async def test_many_sets_at_once_are_all_there(self, opened: Any) -> None:
        """Each is durable by itself, whoever else writes at that moment."""
        state = await opened()
        await asyncio.gather(*(state.keys.set({"session": {str(number): {"n": number}}}) for number in range(100)))
        await state.close()
        again = await opened(saved=False)
        assert await again.keys.get("session", [str(number) for number in range(100)]) == {
            str(number): {"n": number} for number in range(100)
        }

    @pytest.mark.asyncio
    async def test_a_set_that_is_cancelled_happened_or_did_not(self, opened: Any) -> None:
        """All of it, whenever that is; what is set next comes after it."""
        state = await opened()
        ids = ["1", "2", "3"]
        for steps in range(8):
            setting = asyncio.ensure_future(state.keys.set({"session": {id_: {"n": steps} for id_ in ids}}))
            for _ in range(steps):
                await asyncio.sleep(0)
            setting.cancel()
            await asyncio.wait([setting])
            found = await state.keys.get("session", ids)
            assert len({repr(found.get(id_)) for id_ in ids}) == 1, found
        await state.keys.set({"session": {id_: {"n": "last"} for id_ in ids}})
        assert await state.keys.get("session", ids) == {id_: {"n": "last"} for id_ in ids}

    # Transactions

    @pytest.mark.asyncio
    async def test_a_transaction_is_one_commit_of_keys_and_credentials(self, opened: Any) -> None:
        """Inside, it sees what it set; afterwards, all of it is there."""
        state = await opened()
        async with state.keys.transaction("upload"):
            await state.keys.set({"pre-key": {"1": _PAIR}})
            assert await state.keys.get("pre-key", ["1"]) == {"1": _PAIR}
            state.creds["nextPreKeyId"] = 2
            await state.save_creds()
        await state.close()
        again = await opened(saved=False)
        assert again.creds["nextPreKeyId"] == 2
        assert await again.keys.get("pre-key", ["1"]) == {"1": _PAIR}

    @pytest.mark.asyncio
    async def test_an_exception_takes_a_transaction_back(self, opened: Any) -> None:
        """Its keys, and its changes of the credentials that were to be saved."""
        state = await opened()
        await state.keys.set({"session": {"kept": {"a": 1}}})
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - a transaction has a beginning and an end
            async with state.keys.transaction("x"):
                await state.keys.set({"session": {"kept": None, "new": {"a": 1}}})
                state.creds["nextPreKeyId"] = 99
                await state.save_creds()
                raise ZeroDivisionError
        assert state.creds["nextPreKeyId"] == 1
        assert await state.keys.get("session", ["kept", "new"]) == {"kept": {"a": 1}}
        await state.close()
        again = await opened(saved=False)
        assert again.creds["nextPreKeyId"] == 1
        assert await again.keys.get("session", ["kept", "new"]) == {"kept": {"a": 1}}

    @pytest.mark.asyncio
    async def test_transactions_under_different_keys_do_not_overwrite_each_other(self, opened: Any) -> None:
        """Two that append to one record at the same time: in Baileys, one of the changes is lost."""
        state = await opened()
        await state.keys.set({"session": {"log": [0]}})

        async def append(number: int) -> None:
            async with state.keys.transaction(f"key {number}"):
                log = (await state.keys.get("session", ["log"]))["log"]
                await asyncio.sleep(0.001)
                await state.keys.set({"session": {"log": [*log, number]}})

        await asyncio.gather(*(append(number) for number in range(1, 6)))
        assert sorted((await state.keys.get("session", ["log"]))["log"]) == [0, 1, 2, 3, 4, 5]

    # The end

    @pytest.mark.asyncio
    async def test_a_session_has_one_holder(self, opened: Any) -> None:
        """The second is refused until the first has closed; a store without a `hold` of its own cannot tell."""
        state = await opened()
        if type(state._store).hold is AuthStateStore.hold:
            pytest.skip("this store has no hold(): two programs could work on one session, and lose its keys")
        with pytest.raises(SessionInUse):
            await opened(saved=False)
        await state.close()
        await opened(saved=False)

    @pytest.mark.asyncio
    async def test_after_close_nothing_is_written(self, opened: Any) -> None:
        """A late save of a dead socket fails, and says so."""
        state = await opened()
        await state.close()
        await state.close()
        with pytest.raises(SessionClosed):
            await state.save_creds()
        with pytest.raises(SessionClosed):
            await state.keys.set({"session": {"1": {}}})
        with pytest.raises(SessionClosed):
            await state.keys.get("session", ["1"])

    @pytest.mark.asyncio
    async def test_logout_deletes_everything_for_good(self, opened: Any) -> None:
        """A late save brings nothing back, and the next opening is a new identity."""
        state = await opened()
        await state.keys.set(_VALUES)
        await state.logout()
        with pytest.raises(SessionClosed):
            await state.save_creds()
        again = await opened(saved=False)
        assert again.creds["noiseKey"] != state.creds["noiseKey"]
        for kind, values in _VALUES.items():
            assert await again.keys.get(kind, list(values)) == {}

    @pytest.mark.asyncio
    async def test_sessions_are_kept_apart(self, opened: Any) -> None:
        """The keys of one are not the other's, and the logout of one leaves the other."""
        if not self.many_sessions:
            pytest.skip("one storage holds one session, by design")
        one, two = await opened("one"), await opened("two")
        await one.keys.set({"session": {"1": {"of": "one"}}})
        await two.keys.set({"session": {"1": {"of": "two"}, "2": {}}})
        assert await one.keys.get("session", ["1", "2"]) == {"1": {"of": "one"}}
        await one.logout()
        assert await two.keys.get("session", ["1", "2"]) == {"1": {"of": "two"}, "2": {}}
        await two.close()
        assert (await opened("two", saved=False)).creds == two.creds

    @pytest.mark.asyncio
    async def test_the_identity_is_as_real_as_any(self, opened: Any) -> None:
        """What a new session begins with has the fields of `init_auth_creds`, in their order."""
        assert list((await opened()).creds) == list(init_auth_creds())
