"""
Run several logins in one process: a client id keeps their profiles apart.

To run, twice:
    python examples/multiple_sessions.py

Each client has a browser of its own. Two clients on one profile would destroy it, so the second is refused.
Against the simulator (`wwauth simulator`) in place of WhatsApp, set WWAUTH_WEB_URL=http://127.0.0.1:8765/.
"""

from __future__ import annotations

import asyncio
import os

from wwauth import Client, LocalAuth
from wwauth.errors import SessionInUse
from wwauth.qr import terminal_qr

WEB_URL = os.environ.get("WWAUTH_WEB_URL", "https://web.whatsapp.com/")


async def log_in(name: str) -> None:
    """Bring one login up, and try a second client on its profile."""
    client = Client(auth_strategy=LocalAuth(client_id=name), web_url=WEB_URL)
    client.on("qr", lambda code: print(f"{name}:\n{terminal_qr(code)}", flush=True))
    async with client:
        await client.wait_for("ready")
        print(f"{name} is ready", flush=True)
        try:
            await Client(auth_strategy=LocalAuth(client_id=name), web_url=WEB_URL).initialize()
        except SessionInUse as exc:
            print(f"{name}: {exc}", flush=True)


async def main() -> None:
    """Bring both logins up at the same time."""
    async with asyncio.TaskGroup() as group:
        group.create_task(log_in("client-one"))
        group.create_task(log_in("client-two"))


if __name__ == "__main__":
    asyncio.run(main())
