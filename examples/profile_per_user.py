"""
Ask the service's own database which profile is whose: a row for each user, here in SQLite.

To run, twice:
    python examples/profile_per_user.py

Two users log in side by side. ./users.db says which profile is whose, and is told which number each has linked; the profiles
lie in ./profiles, and each is as good as a password.
Against the simulator (`wwauth simulator`) in place of WhatsApp, set WWAUTH_WEB_URL=http://127.0.0.1:8765/.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from wwauth import AuthStrategy, Client, LocalAuth
from wwauth.errors import ConfigurationError, StoreUnavailable
from wwauth.qr import terminal_qr

WEB_URL = os.environ.get("WWAUTH_WEB_URL", "https://web.whatsapp.com/")

SCHEMA = "CREATE TABLE IF NOT EXISTS users (name TEXT PRIMARY KEY, profile TEXT NOT NULL UNIQUE, number TEXT)"


class UserAuth(AuthStrategy):
    """
    Keep a user's login in the profile that the service's database names, and write into it which number is linked.

    The database is asked anew at each launch. The profile itself, its lock and its repair are LocalAuth's.
    """

    def __init__(self, *, database: str | os.PathLike[str], user: str, data_path: str | os.PathLike[str] = "profiles") -> None:
        self.database = Path(database).absolute()
        self.user = user
        self.data_path = Path(data_path).absolute()
        self._local: LocalAuth | None = None

    async def before_browser_initialized(self) -> None:
        """Look up the profile, take its lock and prepare it."""
        self._local = await self._look_up()
        await self._local.before_browser_initialized()
        self.user_data_dir = self._local.user_data_dir

    async def get_auth_event_payload(self) -> str:
        """Say whose login it is."""
        return self.user

    async def after_auth_ready(self) -> None:
        """Note which number the user has linked; a login that works does not end because that was not possible."""
        try:
            await self._note(self.client.info.wid if self.client.info else None)
        except StoreUnavailable as exc:
            self.client.emit("error", exc)

    async def destroy(self) -> None:
        """Give the profile's lock back; there is none when the look-up failed."""
        local, self._local = self._local, None
        if local is not None:
            await local.destroy()

    async def logout(self) -> None:
        """Delete the profile, and note that no number is linked any more."""
        local, self._local = self._local or await self._look_up(), None
        await local.logout()
        await self._note(None)

    async def _look_up(self) -> LocalAuth:
        rows = await self._execute("SELECT profile FROM users WHERE name = ?", self.user)
        if not rows:
            raise ConfigurationError(f"no user {self.user!r} in {self.database}: add a row to the table users first")
        # LocalAuth refuses what is no plain name, so that no row leads out of the folder.
        local = LocalAuth(client_id=rows[0][0], data_path=self.data_path)
        local.setup(self.client)
        return local

    async def _note(self, number: str | None) -> None:
        await self._execute("UPDATE users SET number = ? WHERE name = ?", number, self.user)

    async def _execute(self, statement: str, *values: str | None) -> list[tuple[str]]:
        try:
            return await asyncio.to_thread(self._execute_blocking, statement, values)
        except sqlite3.Error as exc:
            raise StoreUnavailable(f"the users in {self.database} cannot be asked ({exc}): is it there?") from exc

    def _execute_blocking(self, statement: str, values: tuple[str | None, ...]) -> list[tuple[str]]:
        # Never created here: an empty database would not know anybody.
        with closing(sqlite3.connect(f"{self.database.as_uri()}?mode=rw", uri=True)) as connection, connection:
            return connection.execute(statement, values).fetchall()


def add_users(database: Path) -> None:
    """Do what the service does when people sign up."""
    database.touch(mode=0o600)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(SCHEMA)
        connection.executemany("INSERT OR IGNORE INTO users VALUES (?, ?, NULL)", [("Ann", "p-1f6c"), ("Bob", "p-90ab")])


async def log_in(user: str) -> None:
    """Bring one user's login up."""
    client = Client(auth_strategy=UserAuth(database="users.db", user=user), web_url=WEB_URL)
    client.on("qr", lambda code: print(f"{user}:\n{terminal_qr(code)}", flush=True))
    async with client:
        await client.wait_for("ready")
        print(f"{user} is ready", flush=True)


async def main() -> None:
    """Log both users in; then somebody whom the service does not know."""
    await asyncio.to_thread(add_users, Path("users.db"))
    async with asyncio.TaskGroup() as group:
        group.create_task(log_in("Ann"))
        group.create_task(log_in("Bob"))
    try:
        await log_in("Eve")
    except ConfigurationError as exc:
        print(exc)


if __name__ == "__main__":
    asyncio.run(main())
