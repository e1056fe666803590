"""
Keep a login in a JSON file of four texts: the strategy for accounts without multi-device, of which WhatsApp has none any more.

To run, twice:
    python examples/legacy_session.py

./session.json is as good as the password: keep it to yourself. WhatsApp's accounts of today need `LocalAuth` or `RemoteAuth`;
against the simulator (`wwauth simulator --set legacy=true`) set WWAUTH_WEB_URL=http://127.0.0.1:8765/.
"""

from __future__ import annotations

import asyncio
import json
import os
import warnings
from pathlib import Path

from wwauth import Client, LegacySessionAuth
from wwauth.qr import terminal_qr

WEB_URL = os.environ.get("WWAUTH_WEB_URL", "https://web.whatsapp.com/")

SESSION_FILE = Path("session.json")

# That it is deprecated is said above.
warnings.filterwarnings("ignore", message="LegacySessionAuth is deprecated", category=DeprecationWarning)


def load() -> dict[str, str] | None:
    """Return the session that an earlier run saved, if there is one."""
    return json.loads(SESSION_FILE.read_text("utf-8")) if SESSION_FILE.exists() else None


def save(session: dict[str, str]) -> None:
    """Write the session to a file for its owner's eyes alone; a reader sees the old one or the new one."""
    temporary = SESSION_FILE.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    with open(temporary, "x", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, mode=0o600)) as file:
        json.dump(session, file)
    temporary.replace(SESSION_FILE)


async def main() -> None:
    """Log in, from the file when a session is there."""
    strategy = LegacySessionAuth(session=await asyncio.to_thread(load), restart_on_auth_fail=True)
    client = Client(auth_strategy=strategy, web_url=WEB_URL)
    client.on("qr", lambda code: print(terminal_qr(code), flush=True))
    client.on("auth_failure", lambda reason: print(reason, flush=True))

    async with client:
        # As client.on("authenticated", …) would get it; a handler's own task might not have ended when the program does.
        session = await client.wait_for("authenticated")
        await asyncio.to_thread(save, session)
        print(f"the session is in {SESSION_FILE}", flush=True)
        await client.wait_for("ready")
        print(f"ready: {client.info.wid if client.info else 'unknown'}")


if __name__ == "__main__":
    asyncio.run(main())
