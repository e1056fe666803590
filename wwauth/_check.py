"""Is the connection alive, and not only called so? The steps that repair one, the gentlest first."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from .errors import BrowserClosed, WWAuthError

if TYPE_CHECKING:
    from ._launch import Launch

_log = logging.getLogger(__name__)

# How long the server may take to answer the page, and the page to answer us.
_ANSWER = 10.0
_PAGE_ANSWER = _ANSWER + 5.0

# How long a repair may take to show.
_RECONNECTED = 15.0
_RELOADED = 30.0

_LOOK_AGAIN = 0.25


async def is_alive(launch: Launch) -> bool:
    """Tell whether the page is connected, and the server answers a question over that connection."""
    answer = await _ask(launch, "probe")
    return answer is not None and answer["state"] == "CONNECTED" and answer["open"] and answer["answered"]


async def is_reachable(launch: Launch) -> bool:
    """Tell whether the page's server can be reached: where it cannot, a reload would lose the page and help nothing."""
    return await _ask(launch, "reach") is not False  # a page that does not answer is what a reload may help


async def reconnect(launch: Launch) -> bool:
    """Let the page connect anew by its own means; tell whether that helped."""
    _log.warning("the connection is dead (state %s): connecting anew", launch.login.level.state)
    await _ask(launch, "reconnect")
    return await _comes_alive(launch, _RECONNECTED)


async def reload(launch: Launch) -> bool:
    """Load the page anew; tell whether that helped."""
    from playwright.async_api import Error  # noqa: PLC0415 - 0.3 s that only a launch needs

    _log.warning("the connection is still dead: loading the page anew")
    try:
        await launch.browser.page.reload(wait_until="commit", timeout=_PAGE_ANSWER * 1000)
    except Error as exc:
        _log.warning("the page could not be loaded anew: %s", exc.message.splitlines()[0])
        return False
    return await _comes_alive(launch, _RELOADED)


async def _ask(launch: Launch, command: str) -> Any:
    """Run a command in the page; None when the page does not answer."""
    if launch.closing is not None:
        raise BrowserClosed("the client was closed while its connection was looked at")
    try:
        async with asyncio.timeout(_PAGE_ANSWER):
            answer = await launch.login.ask(command, {"timeout": _ANSWER * 1000})
    except (WWAuthError, TimeoutError) as exc:
        _log.debug("%s: %s", command, exc or "the page does not answer")
        return None
    _log.debug("%s: %s", command, answer)
    return answer


async def _comes_alive(launch: Launch, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not (alive := await is_alive(launch)) and time.monotonic() < end:  # noqa: ASYNC110 - the page is asked
        await asyncio.sleep(_LOOK_AGAIN)
    return alive
