"""The simulated phone: what a person does with the real one."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from .errors import ControlRefused
from .pages import NETWORK_LOST

if TYPE_CHECKING:
    from .devices import Device
    from .hub import Hub
    from .pages import Page

__all__ = ["STATES", "Phone"]

STATES = (
    "CONFLICT",
    "CONNECTED",
    "DEPRECATED_VERSION",
    "OPENING",
    "PAIRING",
    "PROXYBLOCK",
    "SMB_TOS_BLOCK",
    "TIMEOUT",
    "TOS_BLOCK",
    "UNLAUNCHED",
    "UNPAIRED",
    "UNPAIRED_IDLE",
)
"""The values of `Socket.state`, as whatsapp-web.js lists them."""

_QR_PARTS = 5

# How long a page may take to store a new login, on a busy machine.
_LINK_TIMEOUT = 20.0

_MAX_MESSAGES = 1_000_000
_MAX_SIZE = 16_000_000

_MAX_GHOSTS = 100

_DAY = 86_400

# Pages are back a moment after the network; those that are not have been closed.
_RETURN = 5.0


class Phone:
    """
    Scans codes, unlinks devices, sends messages; and does to the network and to the server what else may happen.

    Raises `ControlRefused` for what cannot be; it is a `ValueError`, and says how it could be.
    """

    def __init__(self, hub: Hub, number: str) -> None:
        self.number = number
        self._hub = hub

    async def scan(self, qr: str) -> str:
        """
        Scan a code by its exact text, as `qr` gives it, and return the new device's id once its page has stored its login.

        Raises:
            ControlRefused: The text is no code, or that of no page, or of one that shows another code by now.
        """
        # An unescaped plus sign in a URL's query arrives as a space, and codes have none.
        parts = qr.strip().replace(" ", "+").split(",")
        if len(parts) != _QR_PARTS or not all(parts):
            raise ControlRefused(
                f"invalid QR text of {len(qr)} characters in {len(parts)} parts: give the whole text of a code, "
                "ref,noise key,identity key,ADV secret,platform"
            )
        ref = parts[0]
        page = next((page for page in self._hub.pages if page.codes.ref == ref), None)
        if page is None:
            if ref in self._hub.old_refs:
                raise ControlRefused(
                    f"the code {ref[:12]}… has expired or was used: scan the one on the screen now", status=409
                )
            raise ControlRefused(f"no page shows the code {ref[:12]}…: scan one that is on the screen now")
        if ",".join(parts) != page.qr:
            raise ControlRefused(f"the keys beside the code {ref[:12]}… are not the page's: give the whole text unchanged")
        return (await page.link(self.number, timeout=_LINK_TIMEOUT)).id

    async def enter_code(self, code: str) -> str:
        """
        Type a pairing code, with or without its dash, and return the new device's id once its page has stored its login.

        Raises:
            ControlRefused: No page shows this code.
        """
        wanted = code.replace("-", "").replace(" ", "").upper()
        page = next((page for page in self._hub.pages if page.codes.code == wanted), None)
        if page is None:
            raise ControlRefused(f"no page shows the pairing code {code!r}: type the one on the screen now")
        return (await page.link(None, timeout=_LINK_TIMEOUT)).id

    async def unlink(self, device: str | None = None) -> None:
        """
        Log a device out (None: every one), whether its page is open or not.

        An open page deletes its login and leaves for `/?post_logout=1`; another does so when it is opened next.
        """
        for each in self._devices(device):
            self._hub.unlink(each)

    async def conflict(self, device: str | None = None) -> None:
        """Open a second session of a device (None: of each that is on line); its page takes over, or stays in CONFLICT."""
        for page in self._online(device):
            page.tell_conflict()
        self._hub.changed()

    async def drop(self, seconds: float) -> None:
        """
        Lose the network: connections end, and none is accepted for so many seconds; 0 brings it back.

        Returns when the connections have ended.
        """
        if not 0 <= seconds <= _DAY:
            raise ControlRefused(f"invalid time {seconds!r}: a number of seconds from 0 to {_DAY}")
        self._hub.down_until = time.monotonic() + seconds
        asyncio.get_running_loop().call_later(seconds + _RETURN, self._hub.drop_lost_pages)
        await asyncio.gather(*(page.close(NETWORK_LOST) for page in self._hub.pages))
        self._hub.changed()

    async def ghost(self, device: str | None = None, *, gone: bool = False, connections: int = 0) -> None:
        """
        Kill the connection of a device's page (None: of each that is on line) without a word: its state stays CONNECTED.

        The connection stays open and the server answers nothing on it, as behind a NAT that forgot it; with `gone` it ends, and
        the page does not notice. So do the next `connections` that any page opens: the first of them is that of a page that
        connects anew, the second that of a page that is loaded anew.
        """
        if not 0 <= connections <= _MAX_GHOSTS:
            raise ControlRefused(f"invalid number of connections {connections!r}: 0 to {_MAX_GHOSTS}")
        for page in self._online(device):
            if gone:
                page.send("vanish")
            else:
                page.fall_silent()
        self._hub.silent_connections = connections

    async def push_state(self, state: str, device: str | None = None) -> None:
        """Set `Socket.state` of a device's page, or of every page there is."""
        if state not in STATES:
            raise ControlRefused(f"unknown state {state!r}: use one of {', '.join(STATES)}")
        pages = self._hub.pages if device is None else self._online(device)
        if not pages:
            raise ControlRefused("no page is open: open one first", status=409)
        for page in pages:
            page.send("state", state=state)

    async def send_messages(self, n: int, size: int = 1_000, device: str | None = None) -> int:
        """
        Send `n` messages of `size` bytes to a device (None: to each), and return how many were stored by pages that are open.

        It returns when the last one is stored, or when a page went away; what was not delivered waits for the device's
        next login.
        """
        if not 1 <= n <= _MAX_MESSAGES:
            raise ControlRefused(f"invalid number of messages {n!r}: 1 to {_MAX_MESSAGES}")
        if not 1 <= size <= _MAX_SIZE:
            raise ControlRefused(f"invalid size {size!r}: 1 to {_MAX_SIZE} bytes")
        devices = self._devices(device)
        for each in devices:
            each.waiting.append((n, size))
        self._hub.changed(keep=True)
        return sum(await asyncio.gather(*(self._delivered(each, n) for each in devices)))

    async def _delivered(self, device: Device, n: int) -> int:
        while (page := self._hub.page_of(device)) is not None and device.waiting:
            page.deliver()
            before = device.undelivered

            def moved(page: Page = page, before: int = before) -> bool:
                return device.undelivered != before or not page.is_online

            await self._hub.wait_for(moved, timeout=60.0)
        return max(0, n - device.undelivered)

    async def rotate_qr(self) -> None:
        """Have every page that shows a code show its next one."""
        pages = [page for page in self._hub.pages if page.codes.ref is not None]
        if not pages:
            raise ControlRefused("no page shows a code: open one that is not linked", status=409)
        for page in pages:
            page.codes.next_ref()

    async def forget(self) -> None:
        """Make the server forget every device, as if the account had been reset: their logins are rejected from now on."""
        self._hub.forget()

    def _devices(self, device: str | None) -> list[Device]:
        if not self._hub.devices:
            raise ControlRefused("no device is linked: scan a code first", status=409)
        if device is None:
            return list(self._hub.devices.values())
        if device not in self._hub.devices:
            raise ControlRefused(f"no device {device!r} is linked: use one of {', '.join(self._hub.devices)}")
        return [self._hub.devices[device]]

    def _online(self, device: str | None) -> list[Page]:
        found = [page for each in self._devices(device) if (page := self._hub.page_of(each)) is not None]
        if not found:
            raise ControlRefused("no page of a linked device is on line: open one first", status=409)
        return found
