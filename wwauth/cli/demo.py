"""`wwauth demo`: link once, lose the disk, come back without a QR code; on the simulator, with all else real."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from .._files import remove_tree
from ..client import Client
from ..errors import WWAuthError
from ..strategies.remote_auth import RemoteAuth
from ._console import Steps, megabytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator

    from ..backup import BackupReport
    from ..testing import Simulator

_T = TypeVar("_T")

_PATIENCE = 60.0
_MESSAGE_SIZE = 2_000


class DemoFailed(WWAuthError):
    """The demonstration did not show what it should; the message says what."""


@dataclass
class Summary:
    """
    What the demonstration measured.

    Attributes:
        seconds: Time of each step, by its name.
        messages: Records in the profile when it was lost.
        backups: How many backups were saved.
        profile_bytes: Size of what the last backup holds.
        archive_bytes: Size of the archive that was uploaded.
        qr_after_restore: How often a code was asked for after the restore; 0 is the point of it all.
        diagnosis: What the simulated site says of the restored login: "ok".
        damaged: Damaged message records after the restore.
        files: Where the files are kept, with `--keep`.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    messages: int = 0
    backups: int = 0
    profile_bytes: int = 0
    archive_bytes: int = 0
    qr_after_restore: int = 0
    diagnosis: str = ""
    damaged: int = 0
    files: str | None = None

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Note how long the block takes."""
        start = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - start, 2)


def demo(
    messages: Annotated[int, typer.Option(help="How many messages arrive before the disk is lost.", min=0)] = 300,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON, and nothing else.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the files for a look.")] = False,
) -> None:
    """Show the main job on the simulator: link once, lose the disk, come back without a QR code."""
    # What is logged as a warning elsewhere, a backup of a profile that is gone, is part of this show.
    logging.getLogger("wwauth").addHandler(logging.NullHandler())
    folder = Path(tempfile.mkdtemp(prefix="wwauth-demo-"))
    steps = Steps(quiet=as_json)
    summary = Summary(files=str(folder) if keep else None)
    try:
        asyncio.run(_until_told(run_demo(folder, steps, summary, messages=messages)))
    except asyncio.CancelledError:
        raise typer.Exit(128 + signal.SIGTERM) from None
    finally:
        if not keep:
            remove_tree(folder)
    if as_json:
        typer.echo(json.dumps(asdict(summary), indent=2))
        return
    steps.table("What was measured, on this machine and the simulator", _rows(summary))
    steps.say("[bold green]The disk was lost, the login was not.[/bold green] No QR code was needed.")
    if keep:
        steps.say(f"The files: {folder}")


async def _until_told(show: Coroutine[Any, Any, None]) -> None:
    """Run the demonstration; SIGTERM cancels it, so that it cleans up as after Ctrl-C."""
    task = asyncio.current_task()
    if sys.platform != "win32" and task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await show


async def run_demo(folder: Path, steps: Steps, summary: Summary, *, messages: int, kill_after: float = 0.0) -> None:
    """
    Run the demonstration in `folder`, filling in `summary`.

    Args:
        folder: An empty folder of its own; the caller deletes it.
        steps: Where the steps are told.
        summary: Filled in on the way, so that it says how far it came.
        messages: How many messages arrive before the disk is lost.
        kill_after: Seconds after the last backup at which the browser is killed, messages arriving all the while.

    Raises:
        DemoFailed: A code was asked for after the restore, or the restored login is not whole.
    """
    from ..stores import FileSystemStore  # noqa: PLC0415
    from ..testing import Simulator  # noqa: PLC0415

    store, data_path = FileSystemStore(folder / "store"), folder / "auth"
    async with Simulator() as simulator:
        steps.say(f"A simulated WhatsApp Web at {simulator.url}. The browser, its profile and the backups are real.")
        async with _destroyed(_client(simulator, store, data_path)) as first:
            await _link(first, simulator, steps, summary)
            await _back_up(first, simulator, steps, summary, messages)
            if kill_after:
                async with _meanwhile(simulator.phone.send_messages(messages or 100, _MESSAGE_SIZE)):
                    await asyncio.sleep(kill_after)
            await _lose_everything(first, data_path, steps)
        async with _destroyed(_client(simulator, store, data_path)) as second:
            await _come_back(second, simulator, steps, summary)


@asynccontextmanager
async def _destroyed(client: Client) -> AsyncIterator[Client]:
    try:
        yield client
    finally:
        await client.destroy()


@asynccontextmanager
async def _meanwhile(coroutine: Coroutine[Any, Any, _T]) -> AsyncIterator[asyncio.Task[_T]]:
    """Run something beside the block; what the block has not awaited ends with it."""
    task = asyncio.create_task(coroutine)
    await asyncio.sleep(0)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _client(simulator: Simulator, store: object, data_path: Path) -> Client:
    strategy = RemoteAuth(client_id="demo", store=store, data_path=data_path)  # type: ignore[arg-type]
    return Client(auth_strategy=strategy, web_url=simulator.url)


async def _link(client: Client, simulator: Simulator, steps: Steps, summary: Summary) -> None:
    with steps.step("Chromium started, a code on the screen"), summary.timed("start"):
        await client.initialize()
        qr = client.qr or await client.wait_for("qr", timeout=_PATIENCE)
    steps.show_qr(qr)
    async with _meanwhile(client.wait_for("backup_saved", timeout=_PATIENCE)) as saved:
        with steps.step("The simulated phone scanned it: linked") as details, summary.timed("link"):
            await simulator.phone.scan(qr)
            await client.wait_for("ready", timeout=_PATIENCE)
            details.append(f"logged in as {client.info.wid if client.info else '?'}")
        with steps.step("First backup saved") as details, summary.timed("first_backup"):
            _note(summary, await saved, details)


async def _back_up(client: Client, simulator: Simulator, steps: Steps, summary: Summary, messages: int) -> None:
    with steps.step(f"{messages} messages arrived"), summary.timed("messages"):
        await simulator.phone.send_messages(messages, _MESSAGE_SIZE)
    assert isinstance(client.auth_strategy, RemoteAuth)  # noqa: S101 - _client made it so
    with steps.step("Backup saved, while the page went on writing") as details, summary.timed("backup"):
        _note(summary, await client.auth_strategy.backup_now(), details)
    summary.messages = simulator.pages[-1]["messages"]


async def _lose_everything(client: Client, data_path: Path, steps: Steps) -> None:
    with steps.step("Chromium killed (SIGKILL), the whole data path deleted"):
        async with _meanwhile(client.wait_for("disconnected", timeout=_PATIENCE)) as ended:
            if (pid := client.browser_pid) is not None:
                _kill(pid)
            # At once: a last backup from the dead browser's profile would make it too easy.
            await asyncio.to_thread(shutil.rmtree, data_path, ignore_errors=True)
            await ended
        await asyncio.to_thread(remove_tree, data_path)


def _kill(pid: int) -> None:
    if sys.platform == "win32":
        os.kill(pid, signal.SIGTERM)  # which is TerminateProcess there
    else:
        os.kill(pid, signal.SIGKILL)


async def _come_back(client: Client, simulator: Simulator, steps: Steps, summary: Summary) -> None:
    codes: list[str] = []
    client.on("qr", codes.append)
    with steps.step("Restored from the store, and ready") as details, summary.timed("restore_and_ready"):
        async with (
            _meanwhile(client.wait_for("restored", timeout=_PATIENCE)) as restored,
            _meanwhile(client.wait_for("ready", timeout=_PATIENCE)) as ready,
            _meanwhile(client.wait_for("qr", timeout=_PATIENCE)) as code,
        ):
            await client.initialize()
            await asyncio.wait([ready, code], return_when=asyncio.FIRST_COMPLETED)
            summary.qr_after_restore = len(codes)
            if codes:
                raise DemoFailed("the restored login asked for a QR code")
            await ready
            details += [f"backup {(await restored).generation}", "no QR code"]
    with steps.step("Every stored record checked") as details:
        page = (await simulator.check())[-1]
        summary.diagnosis, summary.damaged = page["diagnosis"], page["damaged"]
        details.append(f"diagnosis {page['diagnosis']}, {page['messages']} messages, {page['damaged']} damaged")
        if page["diagnosis"] != "ok" or page["damaged"] or page["messages"] < summary.messages:
            raise DemoFailed(f"the restored login is not whole: {details[0]}, {summary.messages} were saved")


def _note(summary: Summary, report: BackupReport, details: list[str]) -> None:
    summary.backups += 1
    summary.profile_bytes, summary.archive_bytes = report.bytes_total, report.bytes_uploaded
    details.append(f"{report.files} files, {megabytes(report.bytes_total)} as {megabytes(report.bytes_uploaded)}")


def _rows(summary: Summary) -> list[tuple[str, str]]:
    rows = [(name.replace("_", " "), f"{seconds:.1f} s") for name, seconds in summary.seconds.items()]
    return [
        *rows,
        ("saved", f"{megabytes(summary.profile_bytes)}, uploaded as {megabytes(summary.archive_bytes)}"),
        ("messages", f"{summary.messages}, damaged after the restore: {summary.damaged}"),
        ("QR codes after the restore", str(summary.qr_after_restore)),
        ("diagnosis", summary.diagnosis),
    ]
