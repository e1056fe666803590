"""Bring localStorage to the disk now."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Route

_log = logging.getLogger(__name__)

# A reserved name: it is answered here and never looked up.
_ORIGIN = "https://flush.wwauth.invalid/"

_TIMEOUT = 3.0
_CLOSED = 1.0


async def flush_local_storage(context: BrowserContext) -> None:
    """
    Make Chromium commit the localStorage of every origin; best effort, any failure is only logged.

    Chromium limits an origin to about 60 commits an hour, so that a page which writes all the time is up to a minute
    behind on the disk. When another origin's last tab closes, that origin commits at once, and takes along what is pending
    of all others. So a tab on an origin of our own writes a value, removes it, and closes.
    """
    try:
        async with asyncio.timeout(_TIMEOUT):
            await _touch_other_origin(context)
    except Exception as exc:  # noqa: BLE001 - the backup goes on with what is on the disk
        _log.debug("localStorage was not flushed: %s", exc)


async def _touch_other_origin(context: BrowserContext) -> None:
    page = await context.new_page()
    try:
        await page.route("**/*", _answer)
        await page.goto(_ORIGIN)
        await page.evaluate("() => { localStorage.setItem('flush', '1'); localStorage.removeItem('flush'); }")
    finally:
        # Bounded: under a heavy load a tab was seen that neither loaded nor closed for minutes.
        await asyncio.wait({asyncio.ensure_future(page.close())}, timeout=_CLOSED)


async def _answer(route: Route) -> None:
    await route.fulfill(status=200, content_type="text/html", body="<!doctype html><title>flush</title>")
