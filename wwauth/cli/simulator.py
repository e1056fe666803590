"""`wwauth simulator`: a WhatsApp Web to try clients on, until Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotations when the command is made
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from ..testing import Simulator


def simulator(
    port: Annotated[int, typer.Option(help="Port of http; 0: a free one.")] = 8765,
    tls_port: Annotated[int, typer.Option(help="Port of https; 0: a free one.")] = 8766,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    state_file: Annotated[Path | None, typer.Option(help="Keep devices and ports in this file over a restart.")] = None,
    *,
    csp: Annotated[bool, typer.Option("--csp/--no-csp", help="Send a Content-Security-Policy as the real site does.")] = True,
    qr_refresh: Annotated[float, typer.Option(help="Seconds until the next QR code replaces one.")] = 20.0,
    qr_refs: Annotated[int, typer.Option(help="QR codes in a round, until the page is idle.")] = 6,
    timing: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any other timing or amount; may be repeated.")
    ] = None,
) -> None:
    """Serve a simulated WhatsApp Web, and a phone that is controlled over HTTP, until Ctrl-C."""
    from ..testing import Simulator  # noqa: PLC0415 - the web server is loaded by this command alone

    timings = {"qr_refresh": qr_refresh, "qr_refs": qr_refs, **_pairs(timing or [])}
    asyncio.run(_serve(Simulator(host=host, port=port, tls_port=tls_port, state_file=state_file, csp=csp, **timings)))


def _pairs(given: list[str]) -> dict[str, Any]:
    pairs = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals:
            raise ConfigurationError(f"invalid --set {item!r}: give a name and a value, as in --set sync_delay=2")
        pairs[name.strip().replace("-", "_")] = value.strip()
    return pairs


async def _serve(running: Simulator) -> None:
    stop = asyncio.Event()
    _on_signals(stop)
    async with running:
        typer.echo(f"WhatsApp Web, simulated:  {running.url}")
        typer.echo(f"the same over https:      {running.tls_url}")
        typer.echo("as https://web.whatsapp.com/, with these two arguments of Chromium:")
        for argument in running.host_resolver_args:
            typer.echo(f"  '{argument}'" if " " in argument else f"  {argument}")
        typer.echo(f"the phone:                POST {running.url}control/scan?qr=…   GET {running.url}control/state")
        typer.echo("Ctrl-C ends it.")
        sys.stdout.flush()
        await stop.wait()


def _on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        if sys.platform == "win32":
            # The loop there has no handlers of its own, and sleeps until something else wakes it.
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
        else:
            loop.add_signal_handler(number, stop.set)
