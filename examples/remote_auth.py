"""
Keep a login in a store: the machine's own disk may be lost, and the login comes back without a QR code.

To run, and run again after deleting ./.wwebjs_auth:
    python examples/remote_auth.py

The store here is a folder, ./backups, that stands for one elsewhere; what lies in it is as good as the password.
Against the simulator (`wwauth simulator`) in place of WhatsApp, set WWAUTH_WEB_URL=http://127.0.0.1:8765/.
"""

from __future__ import annotations

import asyncio
import os

from wwauth import Client, RemoteAuth
from wwauth.qr import terminal_qr
from wwauth.stores import FileSystemStore

WEB_URL = os.environ.get("WWAUTH_WEB_URL", "https://web.whatsapp.com/")


async def main() -> None:
    """Log in, and stay until the login is in the store."""
    strategy = RemoteAuth(store=FileSystemStore("backups/"), client_id="example", backup_sync_interval_ms=300_000)
    client = Client(auth_strategy=strategy, web_url=WEB_URL)
    client.on("qr", lambda code: print(terminal_qr(code), flush=True))
    client.on("remote_session_saved", lambda: print("the login is in the store", flush=True))

    async with client:
        await client.wait_for("ready")
        # The first backup follows by itself within seconds of `ready`, and one at each interval; this one is awaited.
        report = await strategy.backup_now()
        print(f"ready; the backup {report.session} holds {report.bytes_total:,} bytes")
    # The last backup has been taken, after the browser had closed.


if __name__ == "__main__":
    asyncio.run(main())
