"""What the simulated server knows: its timings, the linked devices, the open pages; and who waits for a change."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from ..._files import make_private_dir, replacing
from ...errors import ConfigurationError
from .devices import Device, new_legacy_session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .pages import Page
    from .timings import Timings

__all__ = ["Hub", "Keeper"]

_log = logging.getLogger(__name__)

T = TypeVar("T")

_VERSION = 1

# For predicates that look at something other than the simulator.
_POLL = 0.05

# What a code was, so that one that was on a screen a moment ago is called expired, not unknown.
_REMEMBERED_REFS = 1000


class Hub:
    """The server's memory. All of it lives in one event loop, and nothing here blocks."""

    def __init__(self, timings: Timings) -> None:
        self.timings = timings
        self.devices: dict[str, Device] = {}
        self.unlinked: set[str] = set()
        self.pages: list[Page] = []
        self.old_refs: deque[str] = deque(maxlen=_REMEMBERED_REFS)
        self.down_until = 0.0
        self.silent_connections = 0
        self.ports: tuple[int, int] = (0, 0)
        self._next_device = 1
        self._change = asyncio.Event()
        self.to_keep = asyncio.Event()

    # -- changes -----------------------------------------------------------------------------------------------------

    def changed(self, *, keep: bool = False) -> None:
        """Wake whoever waits for a change; `keep` says that the state file is out of date."""
        if keep:
            self.to_keep.set()
        self._change.set()
        self._change = asyncio.Event()

    async def wait_for(self, predicate: Callable[[], T], timeout: float) -> T:
        """Return the first true answer of `predicate`; raises `TimeoutError` when there was none in time."""
        try:
            async with asyncio.timeout(timeout):
                while not (answer := predicate()):
                    change = self._change
                    # Not asyncio.wait_for: Python 3.11's takes a change for the answer to a cancellation of the same moment.
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_POLL):
                            await change.wait()
        except TimeoutError:
            pages = [page.public() for page in self.pages]
            seen = [{name: page[name] for name in ("stage", "state", "diagnosis", "problems")} for page in pages]
            raise TimeoutError(
                f"the simulator did not come to what was waited for within {timeout:g} s: pages {seen}"
            ) from None
        return answer

    # -- devices -----------------------------------------------------------------------------------------------------

    def new_device(self, number: str, noise: bytes) -> Device:
        """Make a device that is not linked yet: `add` it once the page has stored its login."""
        name, self._next_device = f"{number}:{self._next_device}", self._next_device + 1
        device = Device(
            id=name, login=secrets.token_hex(8), number=number, noise=noise, seed=secrets.token_bytes(32), linked_at=time.time()
        )
        if self.timings.legacy:
            device.legacy = new_legacy_session()
        if self.timings.history:
            device.waiting.append((self.timings.history, self.timings.history_size))
        return device

    def add(self, device: Device) -> None:
        """Put a device on the list."""
        self.devices[device.id] = device
        self.changed(keep=True)

    def find_legacy(self, session: dict[str, str]) -> Device | None:
        """Return the device without multi-device that these values log in, if there is one."""
        return next((device for device in self.devices.values() if device.legacy and device.legacy == session), None)

    def unlink(self, device: Device) -> None:
        """Take a device off the list; its pages are told so, now or when they next come."""
        self.devices.pop(device.id, None)
        self.unlinked.add(device.id)
        self.changed(keep=True)
        for page in self.pages:
            if page.device is device:
                page.tell_logged_out()

    def forget(self) -> None:
        """Know no device any more, as after a reset of the account; pages that are logged in are refused."""
        self.devices.clear()
        self.unlinked.clear()
        self.changed(keep=True)
        for page in self.pages:
            if page.device is not None:
                page.reject("the server does not know this device")

    def page_of(self, device: Device) -> Page | None:
        """Return the page that this device is logged in with, unless it is in conflict or off line."""
        return next((page for page in self.pages if page.device is device and page.is_online), None)

    # -- the network -------------------------------------------------------------------------------------------------

    @property
    def is_down(self) -> bool:
        """Whether the network is lost at the moment."""
        return time.monotonic() < self.down_until

    def drop_lost_pages(self) -> None:
        """Take those pages off the list that the network took, and that did not come back with it."""
        if not self.is_down:
            self.pages[:] = [page for page in self.pages if not page.is_gone]
            self.changed()

    def next_is_silent(self) -> bool:
        """Count a new connection; tell whether the server is not to answer on it."""
        if self.silent_connections <= 0:
            return False
        self.silent_connections -= 1
        return True

    # -- the file ----------------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """Return what a state file keeps."""
        return {
            "version": _VERSION,
            "ports": list(self.ports),
            "next_device": self._next_device,
            "devices": [device.dump() for device in self.devices.values()],
            "unlinked": sorted(self.unlinked),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `dump` returned; raises ValueError, KeyError or TypeError when it is something else."""
        if state["version"] != _VERSION:
            raise ValueError(f"version {state['version']!r}, not {_VERSION}")
        self.devices = {device.id: device for device in map(Device.load, state["devices"])}
        self.unlinked = set(state["unlinked"])
        self._next_device = int(state["next_device"])
        first, second = state["ports"]
        self.ports = (int(first), int(second))


class Keeper:
    """Keeps a hub in a file: soon after each change, and when it is closed."""

    def __init__(self, hub: Hub, path: Path) -> None:
        self._hub = hub
        self._path = path
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    @staticmethod
    def load(hub: Hub, path: Path) -> None:
        """
        Take over what a file keeps; blocks.

        Raises:
            ConfigurationError: The file is not one of the simulator's.
        """
        try:
            hub.load(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError) as exc:
            raise ConfigurationError(
                f"state file {str(path)!r} is not one of this simulator's ({exc}): delete it, or name another"
            ) from exc

    def start(self) -> None:
        """Begin."""
        self._hub.to_keep = asyncio.Event()  # each event loop needs its own
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Write the file once more, and end."""
        self._closing = True
        self._hub.to_keep.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while True:
            last = self._closing
            self._hub.to_keep.clear()
            try:
                await asyncio.to_thread(self._write, self._hub.dump())
            except OSError:
                _log.exception("the simulator's state could not be kept in %s", self._path)
            if last:
                return
            await self._hub.to_keep.wait()

    def _write(self, state: dict[str, Any]) -> None:
        if not self._path.parent.exists():
            make_private_dir(self._path.parent)
        with replacing(self._path) as temporary:
            temporary.write_text(json.dumps(state, indent=1), encoding="utf-8")
