"""`wwauth login`: link a device, keep the login, stay connected until Ctrl-C."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..client import Client
from ..errors import AuthenticationFailed, SessionClosed
from ..strategies.local_auth import LocalAuth
from ..strategies.remote_auth import RemoteAuth
from ._console import Steps, megabytes

if TYPE_CHECKING:
    from ..abc import AuthStrategy
    from ..backup import BackupReport


def login(
    client_id: Annotated[str | None, typer.Option(help="Tells several logins apart: letters, digits, _ and -.")] = None,
    data_path: Annotated[Path, typer.Option(help="The folder of the profiles.")] = Path(".wwebjs_auth"),
    store: Annotated[str | None, typer.Option(help="Back the login up there, such as file:backups (RemoteAuth).")] = None,
    pairing_phone: Annotated[str | None, typer.Option(help="Link by a code for this number, in place of a QR code.")] = None,
    web_url: Annotated[str, typer.Option(help="WhatsApp Web's address, or a simulator's.")] = "https://web.whatsapp.com/",
    *,
    once: Annotated[bool, typer.Option("--once", help="End when the login works and is saved.")] = False,
    no_sandbox: Annotated[bool, typer.Option("--no-sandbox", help="Start Chromium without its sandbox.")] = False,
) -> None:
    """Log in and stay connected: scan the QR code once; the next start needs none. Ctrl-C ends, with a last backup."""
    strategy: AuthStrategy
    if store is None:
        strategy = LocalAuth(client_id=client_id, data_path=data_path)
    else:
        from ..stores import open_store  # noqa: PLC0415 - only with --store

        strategy = RemoteAuth(client_id=client_id, data_path=data_path, store=open_store(store))
    client = Client(
        auth_strategy=strategy,
        web_url=web_url,
        launch_options={"chromium_sandbox": False} if no_sandbox else {},
        pair_with_phone_number=None if pairing_phone is None else {"phone_number": pairing_phone},
    )
    steps = Steps()
    with suppress(KeyboardInterrupt):
        asyncio.run(_stay(client, steps, once=once))
    if client.holds_login:
        steps.say(f"Ended. The login is kept: {strategy.user_data_dir}" + (f", and in {store}" if store else ""))
    else:
        steps.say("Ended without a login; what was kept before is as it was.")


async def _stay(client: Client, steps: Steps, *, once: bool) -> None:
    saved = asyncio.Event()
    _tell(client, steps, saved)
    async with client:
        try:
            await client.wait_for("ready")
        except SessionClosed as exc:
            raise AuthenticationFailed(f"not logged in: {exc}") from exc
        if once:
            if isinstance(client.auth_strategy, RemoteAuth):
                await saved.wait()
            return
        steps.say("Connected. Ctrl-C ends.")
        await client.wait_for("disconnected")


def _tell(client: Client, steps: Steps, saved: asyncio.Event) -> None:
    """Print a clear line for each thing that happens."""

    @client.on("qr")
    def qr(text: str) -> None:
        steps.show_qr(text)
        steps.say("Scan this with your phone: WhatsApp, Settings, Linked devices, Link a device.")

    @client.on("code")
    def code(text: str) -> None:
        steps.say(f"Type this code into your phone: [bold]{text[:4]}-{text[4:]}[/bold]")

    @client.on("ready")
    def ready() -> None:
        info = client.info
        steps.say(f"[green]✓[/green] Logged in as {info.pushname} ({info.wid})" if info else "Logged in.")

    @client.on("backup_saved")
    def backup_saved(report: BackupReport) -> None:
        if report.kind != "unchanged":
            steps.say(f"[green]✓[/green] Backup {report.generation} saved: {megabytes(report.bytes_uploaded)}")
        saved.set()

    client.on("restored", lambda report: steps.say(f"Restored backup {report.generation} of {report.session}."))
    client.on("authenticated", lambda: steps.say("[green]✓[/green] Linked. Catching up …"))
    client.on("loading_screen", lambda percent: steps.say(f"Loading messages: {percent} %"))
    client.on("change_state", lambda state: steps.say(f"State: {state}"))
    client.on("auth_failure", lambda reason: steps.say(f"[red]The login was refused:[/red] {reason}"))
    client.on("backup_failed", lambda exc: steps.say(f"[red]Backup failed, the one before it stands:[/red] {exc}"))
    client.on("error", lambda exc: steps.say(f"[red]Error:[/red] {exc}"))
    client.on("disconnected", lambda reason: steps.say(f"[red]Disconnected:[/red] {reason}"))
