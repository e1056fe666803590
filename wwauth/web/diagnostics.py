"""What a page that did not come as far as it should leaves for a look: a screenshot, and its console's last lines."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from .._files import make_private_dir, remove_tree, replacing
from ..errors import ConfigurationError

if TYPE_CHECKING:
    import os

    from playwright.async_api import ConsoleMessage, Error, Page

    from ..abc import AuthStrategy
    from ..options import ClientOptions

_log = logging.getLogger(__name__)

_LINES = 200
_LINE_LENGTH = 500
_KEPT = 10
_SCREENSHOT_TIMEOUT = 5.0


class Diagnostics:
    """
    Listens to a page's console, and saves its last lines and a screenshot when asked; nothing at all without a folder.

    The folder is 0700 and the files 0600: a screenshot may show a code that links a device. The newest ten of each are kept.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._page: Page | None = None
        self._lines: deque[str] = deque(maxlen=_LINES)

    @classmethod
    def of(cls, options: ClientOptions, strategy: AuthStrategy) -> Self:
        """Make the one that a client's options ask for, in the strategy's `data_path` unless they name a folder."""
        wanted = options.diagnostics
        if isinstance(wanted, bool):
            return cls(_folder_of(strategy) if wanted else None)
        return cls(Path(wanted).absolute())

    def listen(self, page: Page) -> None:
        """Listen to this page from now on."""
        if self._folder is not None:
            self._page = page
            page.on("console", self._said)
            page.on("pageerror", self._failed)

    async def save(self, exc: Exception) -> None:
        """Save what there is, named after the time, and add a note to `exc` that says where; it never raises."""
        if self._folder is None or self._page is None:
            return
        picture = None
        with suppress(Exception):  # a page that is frozen or gone has no picture, and its console is all there is
            async with asyncio.timeout(_SCREENSHOT_TIMEOUT):
                picture = await self._page.screenshot(timeout=0, animations="disabled")
        lines = [f"{type(exc).__name__}: {exc}", f"the page stood at {self._page.url.partition('?')[0]}", "", *self._lines]
        try:
            path = await asyncio.to_thread(_write, self._folder, "\n".join(lines) + "\n", picture)
        except OSError as error:
            _log.warning("diagnostics could not be saved in %s: %s", self._folder, error)
        else:
            exc.add_note(f"what the page showed and said is in {path}.txt" + (" and .png" if picture else ""))
            _log.info("what the page showed and said is in %s.*", path)

    def _said(self, message: ConsoleMessage) -> None:
        self._note(message.type, message.text)

    def _failed(self, error: Error) -> None:
        self._note("exception", error.message)

    def _note(self, kind: str, text: str) -> None:
        self._lines.append(f"{datetime.now(UTC):%H:%M:%S.%f} {kind}: {text[:_LINE_LENGTH]}")


def _folder_of(strategy: AuthStrategy) -> Path:
    data_path: str | os.PathLike[str] | None = getattr(strategy, "data_path", None)
    if data_path is None:
        raise ConfigurationError(
            f"diagnostics=True needs the data_path of a strategy, and {type(strategy).__name__} has none: name a folder, as "
            "diagnostics='./diagnostics'"
        )
    return Path(data_path) / "diagnostics"


def _write(folder: Path, text: str, picture: bytes | None) -> Path:
    make_private_dir(folder)
    path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    with replacing(Path(f"{path}.txt")) as temporary:
        temporary.write_text(text, "utf-8")
    if picture is not None:
        with replacing(Path(f"{path}.png")) as temporary:
            temporary.write_bytes(picture)
    for suffix in ("txt", "png"):
        for old in sorted(folder.glob(f"*.{suffix}"))[:-_KEPT]:
            remove_tree(old)
    return path
