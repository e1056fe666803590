"""
Compose two strategies: LocalAuth for a login that this disk has, RemoteAuth where the disk is empty.

To run, and run again after deleting ./.wwebjs_auth:
    python examples/composed_strategy.py

Machines that have run on LocalAuth so far go on with their logins and scan nothing; new ones, and those that lost their disk,
take the login from the store, ./backups here, and keep its backups there. What lies in either is as good as the password.
Against the simulator (`wwauth simulator`) in place of WhatsApp, set WWAUTH_WEB_URL=http://127.0.0.1:8765/.
"""

from __future__ import annotations

import asyncio
import os

from wwauth import AuthenticationNeeded, AuthStrategy, Client, LocalAuth, RemoteAuth, Store
from wwauth.qr import terminal_qr
from wwauth.stores import FileSystemStore

WEB_URL = os.environ.get("WWAUTH_WEB_URL", "https://web.whatsapp.com/")


class LocalThenRemoteAuth(AuthStrategy):
    """
    For each launch choose one of two strategies, and hand it the hooks.

    What LocalAuth keeps has no backup. When the disk is empty and the store cannot be reached, that is RemoteAuth's error, and
    never a new login.
    """

    def __init__(self, *, store: Store, client_id: str, data_path: str | os.PathLike[str] = "./.wwebjs_auth") -> None:
        self.local = LocalAuth(client_id=client_id, data_path=data_path)
        self.remote = RemoteAuth(store=store, client_id=client_id, data_path=data_path, backup_sync_interval_ms=300_000)
        self.data_path = self.local.data_path
        self._active: AuthStrategy = self.local
        self._local_was_refused = False

    def setup(self, client: Client) -> None:
        """Bind all three to the client."""
        super().setup(client)
        self.local.setup(client)
        self.remote.setup(client)

    async def before_browser_initialized(self) -> None:
        """Choose, and let the chosen one take its lock and prepare its profile."""
        local = not self._local_was_refused and await asyncio.to_thread(self._local_was_used)
        self._active = self.local if local else self.remote
        await self._active.before_browser_initialized()
        self.user_data_dir = self._active.user_data_dir

    async def after_browser_initialized(self) -> None:
        """Hand on."""
        await self._active.after_browser_initialized()

    async def on_authentication_needed(self) -> AuthenticationNeeded:
        """Start again with RemoteAuth when the profile on the disk turns out to hold no login, or was damaged."""
        if self._active is self.remote:
            return await self.remote.on_authentication_needed()
        self._local_was_refused = True
        reason = f"the profile {self.local.session} holds no login: asking the store"
        return AuthenticationNeeded(failed=True, restart=True, failure_event_payload=reason)

    async def get_auth_event_payload(self) -> object:
        """Say who has the login: "local" or "remote"."""
        return "local" if self._active is self.local else "remote"

    async def after_auth_ready(self) -> None:
        """Hand on: RemoteAuth begins its backups."""
        await self._active.after_auth_ready()

    async def disconnect(self) -> None:
        """Hand on."""
        await self._active.disconnect()

    async def destroy(self) -> None:
        """Hand on: RemoteAuth takes its last backup; the lock is given back."""
        await self._active.destroy()

    async def logout(self) -> None:
        """Delete what either keeps, or the other one's login would come up next; both are tried, whatever one raises."""
        try:
            await self.local.logout()
        finally:
            await self.remote.logout()

    def _local_was_used(self) -> bool:
        """Tell whether a browser has kept a site's databases in LocalAuth's profile."""
        profile = self.local.data_path / self.local.session
        return any((profile / "Default" / "IndexedDB").glob("*.leveldb"))


async def main() -> None:
    """Log in from the disk, else from the store, else by a code."""
    strategy = LocalThenRemoteAuth(store=FileSystemStore("backups/"), client_id="example")
    client = Client(auth_strategy=strategy, web_url=WEB_URL)
    client.on("qr", lambda code: print(terminal_qr(code), flush=True))
    client.on("auth_failure", lambda reason: print(reason, flush=True))
    client.on("authenticated", lambda which: print("the login is kept by:", which, flush=True))

    async with client:
        await client.wait_for("ready")
        print("ready", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
