"""What stores in SQL databases know of the other programs that keep logins in the same database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wwauth.abc import AuthStateStore

if TYPE_CHECKING:
    from ._peers import PeerState


class BesidesOthers(AuthStateStore):
    """An `AuthStateStore` in a database whose other tables may hold the logins of other programs."""

    async def peers(self) -> list[PeerState]:
        """
        Return the logins that other programs keep in the database; each has `records()` to import.

        Raises:
            CredsCorrupted: Their tables are not those of one program for sure.
            StoreUnavailable, StoreDenied: The database cannot be read.
        """
        from ._peers_sql import sql_peers  # noqa: PLC0415 - needed for imports alone

        return await sql_peers(self)

    async def check_is_new(self, *, session: str) -> None:
        """Raise `CredsCorrupted` where another program's tables hold a login that may be this session."""
        from ._peers_sql import check_is_new  # noqa: PLC0415 - needed for new logins alone

        await check_is_new(self, session)
