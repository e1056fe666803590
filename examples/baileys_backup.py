"""
Keep the login of a Node bot safe from Python: back its folder up while it runs, move it to SQLite, and give it back.

To run:
    npm install --prefix examples/baileys_bot
    python examples/baileys_backup.py

The bot is real Baileys over its own folder, `auth_info_baileys`, and is not changed for this. It needs no network and no phone:
its messages are made up.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from wwauth.authstate import use_sql_auth_state
from wwauth.authstate.backup import AuthStateBackup
from wwauth.authstate.targets import open_auth_state_store
from wwauth.authstate.transfer import export_auth_state, import_auth_state
from wwauth.stores import FileSystemStore

BOT = Path(__file__).parent / "baileys_bot" / "bot.mjs"
FOLDER = Path("auth_info_baileys")
DATABASE = "sqlite:///logins.db"


async def start(folder: Path, messages: int) -> asyncio.subprocess.Process:
    """Start the bot; it ends when it has received so many messages."""
    return await asyncio.create_subprocess_exec("node", BOT, folder, str(messages), stdout=asyncio.subprocess.PIPE)


async def said(bot: asyncio.subprocess.Process) -> str:
    """Wait for the bot's end and return what it says of its login."""
    output, _ = await bot.communicate()
    return output.decode().strip()


async def main() -> None:
    """Lose the folder, and bring the login back; move it into a database, and out of it again."""
    print(await said(await start(FOLDER, 10)), flush=True)
    backup = AuthStateBackup(FOLDER, FileSystemStore("backups"), session="bot-1")
    # While the bot writes: what is saved is whole all the same. `backup.start()` does it every five minutes.
    bot = await start(FOLDER, 100)
    await backup.save()
    print(await said(bot), flush=True)
    report = await backup.save()
    print(f"backup {report.generation}: {report.files} files, {report.bytes_uploaded:,} bytes uploaded", flush=True)

    shutil.rmtree(FOLDER)
    await backup.restore()
    print("restored:", await said(await start(FOLDER, 5)), flush=True)

    logins = open_auth_state_store(DATABASE)
    try:
        moved = await import_auth_state(FOLDER, logins, "bot-1", replace=True)
        print(f"in SQLite: {sum(moved.records.values())} records", flush=True)
        # From here on a Python program may use the login, as the guide does.
        state, save_creds = await use_sql_auth_state(DATABASE, session="bot-1")
        async with state:
            state.creds["accountSyncCounter"] += 1
            await save_creds()
        await export_auth_state(logins, "bot-1", FOLDER, replace=True)
    finally:
        await logins.close()
    print("given back:", await said(await start(FOLDER, 5)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
