"""
Log in to WhatsApp Web and keep nothing: the default strategy, `NoAuth`, asks for a QR code at each start.

To run:
    python examples/quickstart.py

Against the simulator (`wwauth simulator`) in place of WhatsApp, set WWAUTH_WEB_URL=http://127.0.0.1:8765/.
"""

from __future__ import annotations

import asyncio
import os

from wwauth import Client
from wwauth.qr import terminal_qr

WEB_URL = os.environ.get("WWAUTH_WEB_URL", "https://web.whatsapp.com/")


async def main() -> None:
    """Show the QR code, and say who scanned it."""
    client = Client(web_url=WEB_URL)  # equivalent to Client(web_url=WEB_URL, auth_strategy=NoAuth())

    @client.on("qr")
    def show(code: str) -> None:
        print(terminal_qr(code))
        print("scan this with WhatsApp: Settings, Linked devices", flush=True)

    async with client:
        await client.wait_for("ready")
        print(f"logged in as {client.info.pushname}" if client.info else "logged in")


if __name__ == "__main__":
    asyncio.run(main())
