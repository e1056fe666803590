"""
Keep a login on this machine's disk: scan once, and the next run needs no QR code.

To run, twice:
    python examples/local_auth.py

The login lies in ./.wwebjs_auth/session-example, which is as good as the password: keep it to yourself.
Against the simulator (`wwauth simulator`) in place of WhatsApp, set WWAUTH_WEB_URL=http://127.0.0.1:8765/.
"""

from __future__ import annotations

import asyncio
import os

from wwauth import Client, LocalAuth
from wwauth.qr import terminal_qr

WEB_URL = os.environ.get("WWAUTH_WEB_URL", "https://web.whatsapp.com/")


async def main() -> None:
    """Log in, from the disk when a login is there."""
    client = Client(auth_strategy=LocalAuth(client_id="example"), web_url=WEB_URL)
    client.on("qr", lambda code: print(terminal_qr(code), flush=True))
    client.on("authenticated", lambda: print("the login was accepted", flush=True))

    async with client:
        await client.wait_for("ready")
        print(f"ready: {client.info.wid if client.info else 'unknown'}")
    # The browser has closed in good order, so all of the login is on the disk.


if __name__ == "__main__":
    asyncio.run(main())
