"""
Keep a login in a store that nobody else can read: backups are encrypted before they leave this machine.

To run, and run again after deleting ./.wwebjs_auth:
    python examples/encrypted_store.py

The first run makes a key, ./wwauth.key, as `wwauth keygen` does. Keep a copy of it elsewhere: without it no backup can be
read. `age -d -i wwauth.key backups/RemoteAuth-example.zip > plain.zip` decrypts what the store holds.
Against the simulator (`wwauth simulator`) in place of WhatsApp, set WWAUTH_WEB_URL=http://127.0.0.1:8765/.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from wwauth import Client, RemoteAuth
from wwauth.qr import terminal_qr
from wwauth.stores import EncryptedStore, FileSystemStore

WEB_URL = os.environ.get("WWAUTH_WEB_URL", "https://web.whatsapp.com/")
KEY = Path("wwauth.key")


async def main() -> None:
    """Log in, and stay until the login is in the store."""
    # A key file among the recipients stands for its public keys.
    store = EncryptedStore(FileSystemStore("backups/"), recipients=[KEY], identities=[KEY])
    print("encrypted for", *store.recipients)
    strategy = RemoteAuth(store=store, client_id="example", backup_sync_interval_ms=300_000)
    client = Client(auth_strategy=strategy, web_url=WEB_URL)
    client.on("qr", lambda code: print(terminal_qr(code), flush=True))

    async with client:
        await client.wait_for("ready")
        report = await strategy.backup_now()
        print(f"ready; the backup {report.session} holds {report.bytes_total:,} bytes")


if __name__ == "__main__":
    if not KEY.exists():
        subprocess.run([sys.executable, "-m", "wwauth", "keygen", KEY], check=True)  # noqa: S603 - no text of others
    asyncio.run(main())
