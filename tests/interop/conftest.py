"""What the tests of this folder are given: the unmodified peers, and wwauth beside them."""

from __future__ import annotations

import shutil
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Protocol

import pytest

from .peer import HERE
from .sides import Starter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.conftest import RequireOptional
    from wwauth.testing import Simulator

INSTALL = "PUPPETEER_SKIP_DOWNLOAD=1 npm ci --prefix tests/interop"


class MakeStarter(Protocol):
    """Makes a starter of "whatsapp-web.js" or "wwauth", whose clients are closed when the test ends."""

    def __call__(self, kind: str, simulator: Simulator, folder: Path | None = None) -> Starter: ...


@pytest.fixture(scope="session")
def node(require_optional: RequireOptional) -> str:
    """Return Node's path; skip (with CI=true: fail) when it, or the peer's packages, are not installed."""
    found = shutil.which("node")
    require_optional(found, "the interop tests need Node 20 or newer and npm; install them, then " + INSTALL)
    installed = HERE / "node_modules" / "whatsapp-web.js" / "package.json"
    require_optional(installed.is_file(), f"the interop tests need the npm peers: {INSTALL}")
    return found or ""


@pytest.fixture
async def starter(node: str, chromium: str, tmp_path: Path) -> AsyncIterator[MakeStarter]:
    async with AsyncExitStack() as stack:

        def make(kind: str, simulator: Simulator, folder: Path | None = None) -> Starter:
            start = Starter(kind, node, chromium, list(simulator.host_resolver_args), folder or tmp_path / kind)
            stack.push_async_callback(start.close)
            return start

        yield make
