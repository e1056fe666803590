"""Leases in a table, by the database's clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import or_, select, update

from wwauth.errors import StoreUnavailable

from ._lease import in_use, overtaken

if TYPE_CHECKING:
    from sqlalchemy import Table

    from ._sqldatabase import Database, Transaction

_MICROSECONDS = 1_000_000

# A lease lasts at most for as long as the column can tell: some thousand years.
_LONGEST = 2**56

_ATTEMPTS = 10


class SQLLeases:
    """The leases in a database."""

    def __init__(self, database: Database, table: Table) -> None:
        self._database = database
        self._leases = table

    async def claim(self, session: str, holder: str, ttl: float) -> int:
        """Take the lease and return its fence."""
        columns = self._leases.c
        now = self._database.flavor.now
        # A clock that was set back by more than a lease lasts must not make it last for ever.
        ended = or_(now >= columns.renewed + columns.ttl, now < columns.renewed - columns.ttl)
        take = (
            update(self._leases)
            .where(columns.session == session, or_(columns.holder.is_(None), columns.holder == holder, ended))
            .values(holder=holder, fence=columns.fence + 1, renewed=now, ttl=_microseconds(ttl))
        )
        look = select(columns.holder, columns.fence).where(columns.session == session)
        doing = f"take the lease of {session!r}"
        for _ in range(_ATTEMPTS):
            async with self._database.writing(doing) as transaction:
                taken = await transaction.count(take)
                row = next(iter(await transaction.run(look)), None)
            if row is not None and taken:
                return int(row.fence)
            if row is None:
                await self._database.repeated(lambda: self._add(session, doing))
            elif row.holder is not None and row.holder != holder:
                raise in_use(session, row.holder)
            # Else it was given back between the two statements.
        raise StoreUnavailable(f"cannot {doing}: others take it and give it back all the time; try again")

    async def renew(self, session: str, fence: int, ttl: float) -> None:
        """Begin the `ttl` anew."""
        columns = self._leases.c
        renew = update(self._leases).where(columns.session == session, columns.fence == fence)
        async with self._database.writing(f"renew the lease of {session!r}") as transaction:
            if not await transaction.count(renew.values(renewed=self._database.flavor.now, ttl=_microseconds(ttl))):
                await self.check(transaction, session, fence)

    async def release(self, session: str, fence: int) -> None:
        """End it, where the fence is the newest one."""
        columns = self._leases.c
        release = update(self._leases).where(columns.session == session, columns.fence == fence).values(holder=None)
        async with self._database.writing(f"give back the lease of {session!r}") as transaction:
            await transaction.count(release)

    async def check(self, transaction: Transaction, session: str, fence: int | None) -> None:
        """Raise `LeaseLost` unless the fence is the newest one, and let nobody take the lease until the transaction's end."""
        if fence is None:
            return
        columns = self._leases.c
        look = select(columns.holder, columns.fence).where(columns.session == session).with_for_update()
        row = next(iter(await transaction.run(look)), None)
        if row is None or row.fence != fence:
            raise overtaken(session, row.holder if row else None)

    async def _add(self, session: str, doing: str) -> None:
        """Make the row of a name that never had a lease; in a transaction of its own, or MySQL's savers deadlock over it."""
        new = self._database.flavor.insert_missing(self._leases)
        async with self._database.writing(doing) as transaction:
            await transaction.run(new.values(session=session, holder=None, fence=0, renewed=0, ttl=0))


def _microseconds(ttl: float) -> int:
    return min(round(ttl * _MICROSECONDS) or 1, _LONGEST)
