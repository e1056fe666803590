"""The Python side of the bridge into WhatsApp Web's page."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from ..errors import AuthTimeout, BrowserClosed, WWAuthError

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.async_api import Frame, Page

    from ..options import ClientOptions

_log = logging.getLogger(__name__)

_BINDING = "__wwauth"
_ANSWER = 30.0

_LOADING = "the page is still loading"
_RUN = f"""([name, args]) => {{
  const bridge = window[Symbol.for('wwauth')];
  if (!bridge) throw new Error('{_LOADING}');
  return bridge.run(name, args);
}}"""

# What Playwright says of a document that was replaced, and of a page that crashed or closed; and our script, of one that loads.
_GONE = ("Execution context was destroyed", "Target", _LOADING)

NEEDS_LOGIN = frozenset({"UNPAIRED", "UNPAIRED_IDLE"})
"""The states of the page in which it waits for a phone."""

STARTING = frozenset({"OPENING", "UNLAUNCHED", "PAIRING", None})
"""The states of the page in which it is not yet known whether a phone is needed."""


@dataclass(frozen=True, slots=True)
class PageReport:
    """
    What the page said: the present level, and the edge that made it say so.

    Attributes:
        edge: "alive", "state", "synced", "progress", "logout", "navigated", or None when only the level changed.
        version: The page's `Debug.VERSION`.
        state: `Socket.state`.
        synced: The login works and the page has caught up.
        percent: Progress of the messages that came while it was away, or None.
        qr: The text of the code on the screen, or None.
    """

    edge: str | None
    version: str | None = None
    state: str | None = None
    synced: bool = False
    percent: int | None = None
    qr: str | None = None


class Bridge:
    """
    Reports from the main frame of one page, and commands to it.

    The page's own scripts are installed once and come back with each document, so that a reload needs nothing.
    """

    def __init__(self, page: Page, on_report: Callable[[PageReport], None]) -> None:
        self._page = page
        self._on_report = on_report

    async def install(self, options: ClientOptions, *, lease: float | None = None) -> None:
        """
        Install the page's side; call it once, before the first navigation.

        Each document leaves for about:blank `lease` seconds after it was loaded, unless it hears `beat` meanwhile; None: it
        stays.
        """
        script = resources.files(__package__).joinpath("bridge.js").read_text("utf-8")
        config = json.dumps({"deviceName": options.device_name, "browserName": options.browser_name, "lease": lease})
        await self._page.expose_binding(_BINDING, self._received)
        await self._page.add_init_script(f"({script}\n)({config})")
        self._page.on("framenavigated", self._navigated)

    async def run(self, command: str, args: object = None) -> Any:
        """
        Run one of the page's commands and return its value.

        Raises:
            BrowserClosed: The page has gone, is still loading, or was replaced by another document while it answered.
            AuthTimeout: The page is there, and did not answer within 30 s.
            WWAuthError: The page's own refusal, in its words.
        """
        from playwright.async_api import Error  # noqa: PLC0415

        try:
            async with asyncio.timeout(_ANSWER):
                return await self._page.evaluate(_RUN, [command, args])
        except TimeoutError as exc:
            # Frozen, or stopped in a debugger: Playwright itself would wait for ever.
            raise AuthTimeout(
                f"the page did not answer {command!r} within {_ANSWER:g} s", phase=f"the page's {command}"
            ) from exc
        except Error as exc:
            text = exc.message.splitlines()[0]
            if self._page.is_closed() or any(sign in text for sign in _GONE):
                raise BrowserClosed(f"the page went away during {command!r}: {text}") from exc
            raise WWAuthError(f"the page refused {command!r}: {text}") from exc

    def _received(self, source: dict[str, Any], message: dict[str, Any]) -> None:
        # Frames within the page run the script, too, and return at once; this is for a page that would call us itself.
        if source["frame"] != self._page.main_frame:
            return
        if (error := message.get("error")) is not None:
            _log.warning("WhatsApp Web's page is not as expected: %s", error)
            return
        try:
            report = PageReport(**message)
        except TypeError:
            _log.warning("the page sent a report that nobody asked for: keys %s", sorted(message))
            return
        self._on_report(report)

    def _navigated(self, frame: Frame) -> None:
        if frame == self._page.main_frame:
            logged_out = "post_logout=1" in frame.url
            self._on_report(PageReport("logged-out" if logged_out else "navigated"))
