"""The server's end of one page: codes, logins, messages."""

from __future__ import annotations

import asyncio
import base64
import logging
import secrets
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from .codes import Codes
from .errors import ControlRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .devices import Device
    from .hub import Hub

__all__ = ["NETWORK_LOST", "Page"]

_log = logging.getLogger(__name__)

PUSHNAME = "Simulated phone"

NETWORK_LOST = 4000
"""The code with which a connection ends when the network is lost."""

# How much a page is sent at once: it stores that in one transaction.
_BATCH_COUNT, _BATCH_BYTES = 25, 1_000_000

# A ratchet that moves on each second gets here in four months.
_MAX_INDEX = 10_000_000

_REPORTED = ("stage", "state", "diagnosis", "problems", "messages", "damaged", "index", "lag", "error")


class Page:
    """
    One document of the page, from its first message to the end of its connection.

    `run` is its whole life. Everything else may be called at any time; what cannot be sent any more is dropped.
    """

    def __init__(self, hub: Hub, socket: WebSocket) -> None:
        self.id = ""
        self.device: Device | None = None
        self.is_online = False
        self.keys: dict[str, str] = {}
        self.report: dict[str, Any] = dict.fromkeys(_REPORTED)
        self.codes = Codes(hub, self.send)
        self._hub = hub
        self._socket = socket
        self._handlers: dict[str, Callable[[dict[str, Any]], Awaitable[None]]] = {
            "hello": self._on_hello,
            "report": self._on_report,
            "checked": self._on_checked,
            "qr": self._on_qr,
            "code": self._on_code,
            "linked": self._on_linked,
            "login": self._on_login,
            "proof": self._on_proof,
            "logout": self._on_logout,
            "stored": self._on_stored,
            "exists": self._on_exists,
        }
        self._silent = hub.next_is_silent()
        self._outgoing: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._linking: tuple[Device, asyncio.Future[None]] | None = None
        self._challenge: tuple[Device, bytes] | None = None
        self._in_flight: tuple[int, int] | None = None
        self._checks: deque[asyncio.Future[dict[str, Any]]] = deque()
        self._ended = asyncio.Event()

    # -- its life ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve the page until its connection ends; it is on the hub's list between its `hello` and then."""
        writer = asyncio.create_task(self._write())
        try:
            while True:
                message = await self._socket.receive_json()
                if self._silent:
                    continue
                await self._handlers[message["type"]](message)
        except WebSocketDisconnect:
            pass
        except (KeyError, ValueError, TypeError) as exc:
            _log.warning("a page sent what no page sends (%s: %s)", type(exc).__name__, exc)
            with suppress(RuntimeError):
                await self._socket.close(1003)
        finally:
            self._end()
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    def _end(self) -> None:
        self._ended.set()
        self.is_online = False
        self.codes.clear()
        gone = ConnectionError("the page has gone")
        if self._linking is not None and not self._linking[1].done():
            self._linking[1].set_exception(gone)
        for check in self._checks:
            if not check.done():
                check.set_exception(gone)
        if self in self._hub.pages:
            if self._hub.is_down:
                self.report["stage"] = "offline"  # it will be back, as another connection of the same document
            else:
                self._hub.pages.remove(self)
        self._hub.changed()

    async def _write(self) -> None:
        while True:
            message = await self._outgoing.get()
            try:
                await self._socket.send_json(message)
            except (WebSocketDisconnect, RuntimeError):
                return  # gone; the reader notices as well

    def send(self, kind: str, **content: Any) -> None:
        """Send a message; dropped when the page has gone, or the server has fallen silent."""
        if not self.is_gone and not self._silent:
            self._outgoing.put_nowait({"type": kind, **content})

    def fall_silent(self) -> None:
        """Leave the connection open, and answer nothing any more."""
        self._silent = True

    @property
    def is_gone(self) -> bool:
        """Whether the connection has ended."""
        return self._ended.is_set()

    async def close(self, code: int) -> None:
        """End the connection; returns when it has, whether the browser answers or not."""
        with suppress(RuntimeError, WebSocketDisconnect):  # it ends at this very moment
            await self._socket.close(code)
        await self._ended.wait()

    def public(self) -> dict[str, Any]:
        """Return what `GET /control/state` says of the page."""
        return {
            "id": self.id,
            "device": self.device.id if self.device else None,
            "qr": self.qr,
            "code": self.codes.code,
            "behind": self.device.behind if self.device else 0,
            **self.report,
        }

    # -- reports -----------------------------------------------------------------------------------------------------

    async def _on_hello(self, message: dict[str, Any]) -> None:
        if self._hub.is_down:  # the network was lost after the connection had come about
            await self._socket.close(NETWORK_LOST)
            return
        self.id = str(message["page"])
        self.keys = {name: str(message["keys"][name]) for name in ("noise", "noisePub", "identity", "adv", "platform")}
        if self in self._hub.pages:  # it has new keys
            self.device = None
            self.is_online = False
        else:
            self._hub.pages[:] = [page for page in self._hub.pages if page.id != self.id]
            self._hub.pages.append(self)
        await self._on_report(message["report"])

    async def _on_report(self, message: dict[str, Any]) -> None:
        for name in _REPORTED:
            if name in message:
                self.report[name] = message[name]
        if self.device is not None and self.is_online:
            self.device.index = int(self.report["index"] or 0)
            self.device.messages = int(self.report["messages"] or 0)
        self._hub.changed()

    async def check(self) -> None:
        """Have the page read each of its message records anew; its report is up to date when this returns, or it has gone."""
        if self.is_gone:
            return
        check: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._checks.append(check)
        self.send("check")
        with suppress(ConnectionError):
            await check

    async def _on_checked(self, message: dict[str, Any]) -> None:
        await self._on_report(message)
        if self._checks and not (check := self._checks.popleft()).done():
            check.set_result(message)

    # -- codes -------------------------------------------------------------------------------------------------------

    @property
    def qr(self) -> str | None:
        """The text of the code on the page's screen."""
        if self.codes.ref is None:
            return None
        return ",".join((self.codes.ref, *(self.keys[name] for name in ("noisePub", "identity", "adv", "platform"))))

    async def _on_qr(self, _message: dict[str, Any]) -> None:
        self.codes.begin_round()

    async def _on_code(self, message: dict[str, Any]) -> None:
        self.codes.show_pairing_code(str(message["phone"]))

    # -- linking -----------------------------------------------------------------------------------------------------

    async def link(self, number: str | None, *, timeout: float) -> Device:
        """
        Link this page as a new device; returns when it has stored its login.

        Args:
            number: The account's phone number; None: the one that the pairing code was asked for.
            timeout: How long the page may take.

        Raises:
            ControlRefused: The page went away or did not answer, or is being linked already.
        """
        if self._linking is not None:
            raise ControlRefused("this page is being linked already: wait for it", status=409)
        device = self._hub.new_device(number or self.codes.phone, base64.b64decode(self.keys["noise"]))
        self.codes.clear()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._linking = (device, done)
        self.send(
            "pair",
            device=device.id,
            login=device.login,
            number=device.number,
            pushname=PUSHNAME,
            seed=base64.b64encode(device.seed).decode(),
            legacy=device.legacy or None,
        )
        self._hub.changed()
        try:
            async with asyncio.timeout(timeout):
                await done
        except (TimeoutError, ConnectionError):
            raise ControlRefused(
                f"the page did not store its login within {timeout:g} s, or has gone: is its browser still open?", status=409
            ) from None
        finally:
            self._linking = None
        return device

    async def _on_linked(self, message: dict[str, Any]) -> None:
        if self._linking is None:
            return
        device, done = self._linking
        device.name = {str(key): str(value) for key, value in message["name"].items()}
        self._hub.add(device)
        if not done.done():
            done.set_result(None)

    # -- logins ------------------------------------------------------------------------------------------------------

    async def _on_login(self, message: dict[str, Any]) -> None:
        if (session := message.get("legacy")) is not None:
            self._log_in_legacy(dict(session))
            return
        name = str(message["device"])
        device = self._hub.devices.get(name)
        if name in self._hub.unlinked:
            self.tell_logged_out()
        elif device is None:
            self.reject("the server does not know this device")
        else:
            nonce = secrets.token_bytes(32)
            self._challenge = (device, nonce)
            self.send("challenge", nonce=base64.b64encode(nonce).decode())

    def _log_in_legacy(self, session: dict[str, str]) -> None:
        # Those of a device that was unlinked are as unknown as wrong ones: the page is not told that it was one.
        if (device := self._hub.find_legacy(session)) is None:
            self.reject("the server does not know these keys")
        else:
            self._accept(device, 0)

    async def _on_proof(self, message: dict[str, Any]) -> None:
        if self._challenge is None:
            return
        (device, nonce), self._challenge = self._challenge, None
        index = int(message["index"])
        if not 0 <= index <= _MAX_INDEX:
            raise ValueError(f"ratchet index {index}")
        value, signature = (base64.b64decode(message[name]) for name in ("value", "signature"))
        wrong = await asyncio.to_thread(device.check_proof, nonce, index, value, signature)
        if self._hub.devices.get(device.id) is not device:
            self.tell_logged_out()  # while the proof was being checked
        elif wrong:
            self.reject(wrong)
        else:
            self._accept(device, index)

    def _accept(self, device: Device, index: int) -> None:
        for other in self._hub.pages:
            if other is not self and other.device is device:
                other.tell_conflict()
        device.behind = max(0, device.index - index)
        device.index = index
        device.logins += 1
        self.device = device
        self.is_online = True
        # Four keys do not say whose they are.
        me = {"number": device.number, "pushname": PUSHNAME, "device": device.id} if device.legacy else None
        self.send("accepted", waiting=device.undelivered, behind=device.behind, me=me)
        self._hub.changed(keep=True)
        self.deliver()

    def reject(self, reason: str) -> None:
        """Refuse the login."""
        self.device = None
        self.is_online = False
        self.send("rejected", reason=reason)

    def tell_logged_out(self) -> None:
        """Say that the device was unlinked: the page deletes its login."""
        self.device = None
        self.is_online = False
        self.send("logged-out")

    def tell_conflict(self) -> None:
        """Say that another session of the device is open: the page stops, until it takes over."""
        self.is_online = False
        self._in_flight = None
        self.send("conflict")

    async def _on_logout(self, _message: dict[str, Any]) -> None:
        # A page may ask before its proof of the login has come.
        device = self.device or (self._challenge[0] if self._challenge else None)
        if device is None:
            self.tell_logged_out()
            return
        self.device, self._challenge = device, None
        self._hub.unlink(device)

    async def _on_exists(self, message: dict[str, Any]) -> None:
        self.send("exists", exists=any(device.number == message["number"] for device in self._hub.devices.values()))

    # -- messages ----------------------------------------------------------------------------------------------------

    def deliver(self) -> None:
        """Send the device's next waiting messages, unless some are on their way."""
        device = self.device
        if device is None or not self.is_online or self._in_flight is not None or not device.waiting:
            return
        count, size = device.waiting[0]
        timings = self._hub.timings
        most = max(1, min(_BATCH_COUNT, _BATCH_BYTES // size))
        self._in_flight = (min(count, most), size)
        self.send(
            "deliver",
            n=self._in_flight[0],
            size=size,
            mediaEvery=timings.media_every,
            mediaSize=timings.media_size,
            at=time.time(),
        )

    async def _on_stored(self, message: dict[str, Any]) -> None:
        if self._in_flight is not None and self.device is not None and self.device.waiting:
            count, size = self.device.waiting[0]
            count -= self._in_flight[0]
            self.device.waiting[0] = (count, size)
            if count <= 0:
                self.device.waiting.pop(0)
        self._in_flight = None
        await self._on_report(message)
        self.deliver()
