"""What is on a page's screen to link it with: a QR code that is replaced again and again, or a pairing code."""

from __future__ import annotations

import asyncio
import base64
import secrets
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .hub import Hub

__all__ = ["Codes"]

# As on the real site's screen: no I, O, 0 and U to be mistaken.
_CODE_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTVWXYZ"
_CODE_LENGTH = 8

# The real site's references are about this long; the digit in front is their version.
_REF_BYTES = 96


class _Send(Protocol):
    def __call__(self, kind: str, **content: str) -> None: ...


class Codes:
    """
    One page's codes: at most one is valid at a time.

    Attributes:
        ref: The reference in the QR code on the screen.
        code: The pairing code on the screen.
        phone: The number that the pairing code was asked for.
    """

    def __init__(self, hub: Hub, send: _Send) -> None:
        self.ref: str | None = None
        self.code: str | None = None
        self.phone = ""
        self._hub = hub
        self._send = send
        self._left = 0
        self._timer: asyncio.TimerHandle | None = None

    def begin_round(self) -> None:
        """Show the first code of a new round."""
        self._left = self._hub.timings.qr_refs
        self.next_ref()

    def next_ref(self) -> None:
        """Show the round's next code; after the last one there is none, and the page is idle."""
        self.clear()
        if self._left <= 0:
            self._end()
            return
        self._left -= 1
        self.ref = "2@" + base64.b64encode(secrets.token_bytes(_REF_BYTES)).decode()
        self._send("ref", ref=self.ref)
        self._timer = asyncio.get_running_loop().call_later(self._hub.timings.qr_refresh, self.next_ref)
        self._hub.changed()

    def show_pairing_code(self, phone: str) -> None:
        """Show a pairing code, in place of what was on the screen."""
        self.clear()
        self.phone = phone
        self.code = "".join(secrets.choice(_CODE_ALPHABET) for _ in range(_CODE_LENGTH))
        self._timer = asyncio.get_running_loop().call_later(self._hub.timings.code_lifetime, self._end)
        self._send("code", code=self.code)
        self._hub.changed()

    def clear(self) -> None:
        """Take the code off the screen; it is not valid any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.ref is not None:
            self._hub.old_refs.append(self.ref)
        self.ref = self.code = None

    def _end(self) -> None:
        self.clear()
        self._send("idle")
        self._hub.changed()
