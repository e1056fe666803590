"""Which Chromium to start."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BrowserNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

ENVIRONMENT_VARIABLE = "WWAUTH_CHROMIUM"

# A program that does not tell its version in so many seconds is started without it.
_ANSWER = 10.0

_ON_PATH = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_chromium(launch_options: Mapping[str, object], *, bundled: str) -> str | None:
    """
    Return the path of the Chromium to start, or None when `launch_options` names a `channel` that Playwright resolves.

    The order: `executable_path` or `channel` of `launch_options`, the environment variable WWAUTH_CHROMIUM, a Chromium
    on PATH, last `bundled`, the one that Playwright downloads.

    Raises:
        BrowserNotFound: There is none, or the one that was named does not exist.
    """
    if named := launch_options.get("executable_path"):
        return _existing(str(named), "launch_options['executable_path']")
    if launch_options.get("channel"):
        return None
    if named := os.environ.get(ENVIRONMENT_VARIABLE):
        return _existing(named, f"the environment variable {ENVIRONMENT_VARIABLE}")
    for name in _ON_PATH:
        if found := shutil.which(name):
            return found
    if Path(bundled).exists():
        return bundled
    raise BrowserNotFound(
        "no Chromium was found: run `playwright install chromium`, install your system's package (Debian: `apt install "
        f"chromium`), or set {ENVIRONMENT_VARIABLE} to the path of one"
    )


async def major_version(path: str) -> int | None:
    """Return the major version of a Chromium, which it is asked for; None: it does not tell, as on Windows."""
    if sys.platform == "win32":  # where it opens a window in place of an answer
        return None
    try:
        program = await asyncio.create_subprocess_exec(
            path,
            "--version",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return None
    try:
        async with asyncio.timeout(_ANSWER):
            answer, _ = await program.communicate()
    except TimeoutError:
        return None
    finally:
        if program.returncode is None:
            with suppress(ProcessLookupError):
                program.kill()
            await program.wait()
    found = re.search(rb" (\d{1,4})\.\d", answer)
    return int(found[1]) if found else None


def _existing(path: str, source: str) -> str:
    if found := shutil.which(path):
        return found
    raise BrowserNotFound(f"{source} names {path!r}, which is not a program on this machine")
