"""
Many logins of socket clients in one process: the multi-user map of Baileys' guide, in Python.

To run:

    python examples/auth_states.py

wwauth is no socket client, so `Socket` stands for yours: whatever takes credentials and keys, and has an emitter with
Baileys' events. Here it only does to its state what messages would do.
"""

import asyncio

from pyee.asyncio import AsyncIOEventEmitter

from wwauth.authstate import AuthenticationState, SignalKeyStore, make_cacheable_signal_key_store, use_sql_auth_state
from wwauth.errors import SessionInUse

DATABASE = "sqlite:///sessions.db"


class Socket:
    """Your socket library."""

    def __init__(self, state: AuthenticationState, keys: SignalKeyStore) -> None:
        self.ev = AsyncIOEventEmitter()
        self.creds, self.keys = state.creds, keys

    async def receive(self, number: int) -> None:
        """Change the state as a message would: a session moves on, and the credentials with it."""
        async with self.keys.transaction("15550002222@s.whatsapp.net"):
            await self.keys.set({"session": {"15550002222.0": {"_sessions": {}, "version": "v1", "messages": number}}})
        self.ev.emit("creds.update", {"accountSyncCounter": number})


class Sessions:
    """A socket for each user, all in one database."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[Socket, AuthenticationState]] = {}

    async def create(self, user_id: str) -> Socket:
        """Open a user's login, or begin a new one, and connect it."""
        state, _ = await use_sql_auth_state(DATABASE, session=user_id)
        socket = Socket(state, make_cacheable_signal_key_store(state.keys))
        state.bind(socket.ev)
        self._open[user_id] = socket, state
        return socket

    def get(self, user_id: str) -> Socket | None:
        """Return a user's socket, or None."""
        return self._open[user_id][0] if user_id in self._open else None

    async def close(self, user_id: str) -> None:
        """End a user's connection; the login stays."""
        _, state = self._open.pop(user_id)
        await state.close()

    async def log_out(self, user_id: str) -> None:
        """Delete a user's login."""
        _, state = self._open.pop(user_id)
        await state.logout()


async def main() -> None:
    """Open three logins, use them, and end them."""
    sessions = Sessions()
    users = ["user1", "user2", "user3"]
    sockets = await asyncio.gather(*(sessions.create(user) for user in users))
    await asyncio.gather(*(socket.receive(number) for number, socket in enumerate(sockets, 1)))
    try:
        await sessions.create("user1")
    except SessionInUse as error:
        print("refused:", error)
    for user in users[:2]:
        await sessions.close(user)
    await sessions.log_out("user3")

    socket = await sessions.create("user2")
    print("user2 comes back with", socket.creds["accountSyncCounter"], "updates and", await socket.keys.list_ids("session"))
    await sessions.close("user2")


asyncio.run(main())
