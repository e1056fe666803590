"""What is written of one session: its credentials, each time the newest, and its keys; nothing after the end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ..abc import CREDS
from ..errors import SessionClosed
from ._underway import UnderWay
from .bufferjson import BufferJSON
from .creds import check_creds
from .records import plugin_errors

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..abc import AuthStateStore, RecordName
    from .creds import AuthenticationCreds


class Saver:
    """What is written of one session: one write of the credentials at a time, and none after the end."""

    def __init__(self, store: AuthStateStore, session: str, creds: AuthenticationCreds, saved: str | None) -> None:
        self._store = store
        self._session = session
        self._creds = creds
        self._saved = saved
        # What is not stored yet is no change that a transaction made.
        self._new = BufferJSON.dumps(creds) if saved is None else ""
        # The credentials as somebody has asked to save them, until that is done.
        self._asked: dict[str, Any] | None = None
        # What each transaction that runs has changed in them.
        self._changes: list[CredsChange] = []
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None
        self._under_way = UnderWay()
        self.closed = False

    def check(self) -> None:
        """Raise `SessionClosed` after the end."""
        if self._loop.is_closed():
            # The hold ended with its event loop: the session may be another state's by now.
            raise SessionClosed(
                f"the state of {self._session!r} was made in an event loop that has ended: open it anew in this one, and "
                "close() each state before the end of asyncio.run()"
            )
        if self.closed:
            raise SessionClosed(f"the state of {self._session!r} was closed or logged out: open it anew to go on")

    async def save(self) -> None:
        """Save the credentials, together with whoever else asks before the write begins."""
        self._asked = self._settled()
        # Done: it was cancelled before its turn, by somebody who cancels all tasks.
        if self._next is None or self._next.done():
            self._next = asyncio.ensure_future(self._save())
            # Whoever asked may be cancelled; then nobody asks how it went.
            self._next.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(self._next)

    async def write(self, changes: dict[RecordName, str | None], creds: Collection[CredsChange]) -> None:
        """
        Write records, and with them the credentials with these changes of a transaction, where it has any.

        The first keys of a new identity bring its credentials with them: keys without credentials would be nobody's.
        """
        self.check()
        with self._under_way:
            if self._saved is not None and not creds:
                await self._write(changes)
                return
            async with self._turn:
                await self._write_creds(changes, creds)

    async def close(self) -> None:
        """Refuse what comes from now on and wait for what has begun."""
        self.closed = True
        if self._next is not None:
            await asyncio.wait([self._next])
        await self._under_way.ended()

    def change(self) -> CredsChange:
        """Return what a transaction has changed in the credentials, but for what is stored or being saved, by others too."""
        base = self.base()
        changed = {key: value for key, value in self._creds.items() if key not in base or base[key] != value}
        change = CredsChange(self, self._creds, changed, base.keys() - self._creds.keys())
        self._changes.append(change)
        return change

    def ended(self, change: CredsChange, *, kept: bool) -> None:
        """Forget a change that was committed, or is being taken back."""
        self._changes.remove(change)
        if kept and self._asked is not None:
            # Whoever asked before did so for older ones.
            change.apply(self._asked)

    def base(self) -> dict[str, Any]:
        """Return the credentials that are stored, are being saved, or will be by the transactions that run."""
        base = dict(self._stored())
        for change in self._changes:
            change.apply(base)
        return base

    def _stored(self) -> dict[str, Any]:
        if self._asked is not None:
            return self._asked
        stored: dict[str, Any] = BufferJSON.loads(self._new if self._saved is None else self._saved)
        return stored

    async def _save(self) -> None:
        with self._under_way:
            try:
                async with self._turn:
                    self._next = None
                    await self._write_creds({}, ())
            finally:
                if self._next is None:
                    self._asked = None

    def _settled(self, due: Collection[CredsChange] = ()) -> dict[str, Any]:
        """Return the credentials without what transactions that run have changed and is not `due`: their commits bring it."""
        settled = dict(self._creds)
        running = [change for change in self._changes if change not in due]
        if running:
            stored = BufferJSON.loads(self._new if self._saved is None else self._saved)
            for change in running:
                change.leave_out(settled, stored)
        return settled

    async def _write_creds(self, changes: dict[RecordName, str | None], due: Collection[CredsChange]) -> None:
        creds = self._settled(due)
        check_creds(creds)
        text = BufferJSON.dumps(creds)
        # Unchanged, and still there: another program may have deleted it.
        if changes or text != self._saved or not await self._is_stored(text):
            await self._write({**changes, CREDS: text})
        self._saved = text

    async def _is_stored(self, text: str) -> bool:
        with plugin_errors(f"read the credentials of {self._session!r}"):
            return (await self._store.read(session=self._session, names=[CREDS])).get(CREDS) == text

    async def _write(self, changes: dict[RecordName, str | None]) -> None:
        with plugin_errors(f"write to the session {self._session!r}"):
            await self._store.write(session=self._session, changes=changes)


class CredsChange:
    """What a transaction has changed in the credentials, until it ends."""

    def __init__(self, saver: Saver, creds: AuthenticationCreds, changed: dict[str, Any], removed: set[str]) -> None:
        self._saver, self._creds = saver, creds
        self.changed, self.removed = changed, removed

    def leave_out(self, creds: dict[str, Any], base: dict[str, Any]) -> None:
        """Put what `base` has in its place in other credentials, but for what was changed again."""
        for key, value in self.changed.items():
            if key in creds and creds[key] == value:
                if key in base:
                    creds[key] = base[key]
                else:
                    del creds[key]
        for key in self.removed & (base.keys() - creds.keys()):
            creds[key] = base[key]

    def apply(self, creds: dict[str, Any]) -> None:
        """Change other credentials the same way."""
        creds.update(self.changed)
        for key in self.removed & creds.keys():
            del creds[key]

    def keep(self) -> None:
        """Take note that it was committed."""
        self._saver.ended(self, kept=True)

    def put_back(self) -> None:
        """Take it back, but for what was changed again or stored by somebody else meanwhile."""
        self._saver.ended(self, kept=False)
        self.leave_out(self._creds, self._saver.base())
