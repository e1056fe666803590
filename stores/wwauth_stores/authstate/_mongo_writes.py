"""Writes of auth states to MongoDB that happen as a whole, or not at all, also where the server has no transactions."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, NamedTuple

from pymongo import DeleteOne, UpdateOne
from pymongo.errors import DuplicateKeyError, OperationFailure

from .._lease import in_use, overtaken
from .._mongo_leases import MongoLeases, free_for
from .._mongoclient import safe_options

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ._mongo_layouts import Step

# A document has at most 16 MiB. One record that is larger than this is a part by itself.
_PART = 4 * 1024 * 1024

# One change: the document's `_id`, and its new fields; None deletes it.
Change = tuple[str, "dict[str, str] | None"]

# A whole deletion: the filter's two bounds, none for every document.
Range = dict[str, Any]


class Noted(NamedTuple):
    """What is noted: the changes, by `_id`, or that everything is deleted."""

    changes: dict[str, dict[str, str] | None]
    everything: bool

    def over(self, found: Mapping[str, dict[str, Any]], wanted: Collection[str]) -> dict[str, dict[str, Any]]:
        """Return which of the wanted documents there are when it is applied to those that were found."""
        if self.everything:
            return {}
        now = {**found, **self.changes}
        return {identifier: fields for identifier in wanted if (fields := now.get(identifier)) is not None}


class Writes(MongoLeases):
    """
    The writes to one collection, and the leases that they are checked against, in a collection of their own beside it.

    A replica set or a sharded cluster has transactions: the check of the fence and the changes are one. One that its process
    has left open, by dying, would keep the server's locks for a minute: the next holder ends it. A single server has
    none. There the changes are first noted in the lease's own document, in one update that checks the fence, and from then
    on they count: they are applied, and the note is removed. After a crash the next holder, or the next writer, applies what
    is noted. A change of one record needs no note: the fence is looked at before. What a single server cannot refuse is a
    process that was paused between that and the application for so long that another one has taken over and written since:
    it writes its values over those.
    """

    def __init__(self, collection: Any, step: Step) -> None:
        super().__init__(collection.database[f"{collection.name}.leases"].with_options(**safe_options()), step)
        self._collection = collection
        self._transactions: bool | None = None
        # The driver's session of each login that is held, for one transaction at a time.
        self._sessions: dict[str, Any] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self._begun: dict[str, int] = {}
        self._unfinished: set[str] = set()

    async def claim(self, session: str, holder: str, ttl: float) -> int:
        """Take the lease and return its fence, when what its last holder has left open was ended; raises `in_use`."""
        doing = f"take the lease on session {session!r}"
        async with self._step(doing):
            free = await self._leases.find_one(free_for(session, holder))
            if free is not None and "transactions" in free:
                # Another user's may not be ended: then the server does it, in its own time.
                with suppress(OperationFailure):
                    await self._collection.database.client.admin.command("killSessions", [free["transactions"]])
        if free is None and (now := await self.holder(session, doing)) not in {None, holder}:
            # A write, which would tell the same, may have to wait for such a transaction.
            raise in_use(session, str(now))
        return await super().claim(session, holder, ttl)

    async def release(self, session: str, fence: int) -> None:
        """End it, where the fence is the newest one."""
        change = {"$set": {"holder": None}, "$unset": {"transactions": ""}}
        async with self._step(f"release the lease on session {session!r}"):
            await self._leases.update_one({"_id": session, "fence": fence}, change)

    async def begin(self, owner: str, fence: int, doing: str) -> None:
        """Prepare for the writes of a holder, and apply what one that died has noted."""
        await self.replay(owner, doing)
        if await self._has_transactions(doing):
            async with self._step(doing):
                session = self._sessions[owner] = await self._new_session()
                self._turns[owner] = asyncio.Lock()
                await self._leases.update_one({"_id": owner, "fence": fence}, {"$set": {"transactions": session.session_id}})

    async def end(self, owner: str) -> None:
        """Forget what is known of a session that is held no more."""
        self._begun.pop(owner, None)
        self._unfinished.discard(owner)
        if (session := self._sessions.pop(owner, None)) is not None:
            await session.end_session()

    async def change(self, owner: str, changes: Sequence[Change], fence: int | None, doing: str) -> None:
        """Apply changes; `LeaseLost`: the fence is not the newest one."""
        if fence is None and len(changes) == 1:
            async with self._step(doing):
                await self._apply(changes)
        elif await self._has_transactions(doing):
            await self._in_transaction(owner, fence, doing, lambda session: self._apply(changes, session))
        elif len(changes) == 1 and owner not in self._unfinished:
            # It happens as a whole anyway, and what a note would add to the check is little: see above.
            async with self._step(doing):
                now = await self._leases.find_one({"_id": owner}) or {}
            if now.get("fence") != fence:
                raise overtaken(owner, now.get("holder"))
            async with self._step(doing):
                await self._apply(changes)
        else:
            await self._noted(owner, fence, doing, changes)

    async def delete(self, owner: str, which: Range, fence: int | None, doing: str) -> None:
        """Delete all documents of a session; `LeaseLost`: the fence is not the newest one."""
        if await self._has_transactions(doing):
            await self._in_transaction(
                owner, fence, doing, lambda session: self._collection.delete_many(which, session=session)
            )
        else:
            # Noted, too: keys without credentials would be what a crash leaves.
            await self._noted(owner, fence, doing, which)

    async def replay(self, owner: str, doing: str) -> None:
        """Apply what a writer that died has noted; for the holder."""
        note = await self._note(owner, doing)
        if note is not None:
            await self._finish(owner, note, doing)

    async def not_applied(self, owner: str, *, held: bool, doing: str) -> Noted | None:
        """
        Return what is noted and may not have been applied yet; None: nothing is.

        The holder need not ask the server unless a write of its own was interrupted, or is under way.
        """
        if await self._has_transactions(doing) or (held and owner not in self._unfinished):
            return None
        note = await self._note(owner, doing)
        if note is None:
            return None
        changes = dict(note.get("changes", ()))
        for name in _part_names(owner, note):
            async with self._step(doing):
                part = await self._leases.find_one({"_id": name})
            changes.update(part["changes"] if part else ())
        return Noted(changes, everything="range" in note)

    def begun(self, owner: str) -> int:
        """Return a number that grows with each write of this process that others could see a part of."""
        return self._begun.get(owner, 0)

    async def _has_transactions(self, doing: str) -> bool:
        if self._transactions is None:
            async with self._step(doing):
                told = await self._collection.database.client.admin.command("hello")
            self._transactions = "setName" in told or told.get("msg") == "isdbgrid"
        return self._transactions

    async def _in_transaction(self, owner: str, fence: int | None, doing: str, work: Any) -> None:
        async def body(session: Any) -> None:
            if fence is not None:
                # A write, so that whoever takes the lease meanwhile is in the way of this transaction, or this one in theirs.
                found = await self._leases.update_one(
                    {"_id": owner, "fence": fence}, {"$currentDate": {"renewed": True}}, session=session
                )
                if not found.matched_count:
                    now = await self._leases.find_one({"_id": owner}, session=session) or {}
                    raise overtaken(owner, now.get("holder"))
            await work(session)

        safe = safe_options()
        del safe["codec_options"]
        async with self._step(doing):
            if owner in self._sessions:
                async with self._turns[owner]:
                    await self._sessions[owner].with_transaction(body, **safe)
            else:
                async with await self._new_session() as session:
                    await session.with_transaction(body, **safe)

    async def _new_session(self) -> Any:
        begun = self._collection.database.client.start_session()
        # Motor's is awaited, pymongo's is not.
        return await begun if isawaitable(begun) else begun

    async def _apply(self, changes: Sequence[Change], session: Any = None) -> None:
        # Each is the only one on its document: their order is nothing to them.
        await self._collection.bulk_write([_operation(*change) for change in changes], ordered=False, session=session)

    async def _noted(self, owner: str, fence: int | None, doing: str, what: Sequence[Change] | Range) -> None:
        note: dict[str, Any] = {"token": secrets.token_hex(8)}
        if isinstance(what, dict):
            note["range"] = list(what.items())
        else:
            note["changes"], *parts = _parts(what)
            note["parts"] = len(parts)
            for name, part in zip(_part_names(owner, note), parts, strict=True):
                async with self._step(doing):
                    await self._leases.insert_one({"_id": name, "changes": part})
        # One at a time: when it has ended, what is unfinished is none of another one's.
        async with self._turns.setdefault(owner, asyncio.Lock()):
            self._unfinished.add(owner)
            while not await self._take_note(owner, fence, doing, note):
                await self.replay(owner, doing)
            await self._finish(owner, note, doing)
            self._unfinished.discard(owner)

    async def _take_note(self, owner: str, fence: int | None, doing: str, note: dict[str, Any]) -> bool:
        """Write a note down, which is what decides; False: there is another one, to be applied first."""
        found: dict[str, Any] = {"_id": owner, "noted": {"$exists": False}}
        if fence is not None:
            found["fence"] = fence
        async with self._step(doing):
            with suppress(DuplicateKeyError):
                done = await self._leases.update_one(found, {"$set": {"noted": note}}, upsert=fence is None)
                if done.matched_count or done.upserted_id is not None:
                    return True
            now = await self._leases.find_one({"_id": owner}) or {}
        if fence is not None and now.get("fence") != fence:
            raise overtaken(owner, now.get("holder"))
        # A driver that asks again after its connection broke finds its own note.
        if now.get("noted", {}).get("token") == note["token"]:
            return True
        if fence is None and now.get("holder") is not None:
            raise in_use(owner, now["holder"])
        return False

    async def _note(self, owner: str, doing: str) -> dict[str, Any] | None:
        async with self._step(doing):
            document = await self._leases.find_one({"_id": owner, "noted": {"$exists": True}})
        return None if document is None else document["noted"]

    async def _finish(self, owner: str, note: dict[str, Any], doing: str) -> None:
        """Apply what is noted, and then remove the note; to do it twice is as good as once."""
        # Not before the note is there: who reads from now on sees that, or all of it.
        self._begun[owner] = self.begun(owner) + 1
        async with self._step(doing):
            if "range" in note:
                await self._collection.delete_many(dict(note["range"]))
            else:
                await self._apply(note["changes"])
        names = _part_names(owner, note)
        for name in names:
            async with self._step(doing):
                part = await self._leases.find_one({"_id": name})
                if part is not None:  # else another one has finished it
                    await self._apply(part["changes"])
        async with self._step(doing):
            await self._leases.update_one({"_id": owner, "noted.token": note["token"]}, {"$unset": {"noted": ""}})
            if names:
                await self._leases.delete_many({"_id": {"$in": names}})


def _operation(identifier: str, fields: dict[str, str] | None) -> UpdateOne | DeleteOne:
    # Not replaced: what another program may have beside the text stays there.
    return DeleteOne({"_id": identifier}) if fields is None else UpdateOne({"_id": identifier}, {"$set": fields}, upsert=True)


def _parts(changes: Sequence[Change]) -> list[list[Change]]:
    parts: list[list[Change]] = [[]]
    room = _PART
    for change in changes:
        size = len("".join((change[0], *(change[1] or {}).values())).encode())
        if size > room and parts[-1]:
            parts.append([])
            room = _PART
        parts[-1].append(change)
        room -= size
    return parts


def _part_names(owner: str, note: dict[str, Any]) -> list[str]:
    # No session's name has a slash.
    return [f"{owner}/{note['token']}/{number}" for number in range(1, note.get("parts", 0) + 1)]
