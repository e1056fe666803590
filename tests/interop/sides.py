"""whatsapp-web.js and wwauth behind one face, so that one scenario is played with either."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from wwauth import Client, LocalAuth, NoAuth, RemoteAuth
from wwauth.stores import FileSystemStore

from .peer import TIMEOUT, Peer

if TYPE_CHECKING:
    from pathlib import Path

    from wwauth.abc import AuthStrategy

# The events of whatsapp-web.js; wwauth has more, which have no counterpart to be compared with.
EVENTS = (
    "qr",
    "code",
    "loading_screen",
    "authenticated",
    "auth_failure",
    "ready",
    "change_state",
    "disconnected",
    "remote_session_saved",
)


@dataclass(frozen=True)
class Options:
    """How a client is started, in wwauth's words."""

    strategy: str = "NoAuth"
    client_id: str | None = None
    data_path: Path | None = None
    store: Path | None = None
    takeover_on_conflict: bool = False
    takeover_timeout_ms: int = 0
    qr_max_retries: int = 0
    pair_with_phone_number: str | None = None

    def for_the_peer(self) -> dict[str, Any]:
        pair = {"phoneNumber": self.pair_with_phone_number, "showNotification": True, "intervalMs": 180_000}
        client = {
            "takeoverOnConflict": self.takeover_on_conflict,
            "takeoverTimeoutMs": self.takeover_timeout_ms,
            "qrMaxRetries": self.qr_max_retries,
            **({"pairWithPhoneNumber": pair} if self.pair_with_phone_number else {}),
        }
        return {
            "strategy": self.strategy,
            "clientId": self.client_id,
            "dataPath": str(self.data_path) if self.data_path else None,
            "store": str(self.store) if self.store else None,
            "backupSyncIntervalMs": 60_000,
            "client": client,
        }

    def for_wwauth(self) -> dict[str, Any]:
        pair = {"phone_number": self.pair_with_phone_number} if self.pair_with_phone_number else None
        return {
            "auth_strategy": self._strategy(),
            "takeover_on_conflict": self.takeover_on_conflict,
            "takeover_timeout_ms": self.takeover_timeout_ms,
            "qr_max_retries": self.qr_max_retries,
            "pair_with_phone_number": pair,
        }

    def _strategy(self) -> AuthStrategy:
        if self.strategy == "NoAuth":
            return NoAuth()
        assert self.data_path is not None
        if self.strategy == "LocalAuth":
            return LocalAuth(client_id=self.client_id, data_path=self.data_path)
        assert self.store is not None
        return RemoteAuth(
            store=FileSystemStore(self.store),
            client_id=self.client_id,
            data_path=self.data_path,
            archive="whatsapp-web.js",
        )


class Side(Protocol):
    """One running client, of whichever kind."""

    events: list[tuple[str, list[Any]]]

    async def event(self, name: str) -> Any:
        """Return the payload of the next event of this name that was not returned before."""

    async def get_state(self) -> str | None: ...
    async def request_pairing_code(self, phone: str) -> str: ...
    async def cancel_pairing_code(self) -> None: ...
    async def backup_now(self) -> None: ...
    async def logout(self) -> None: ...
    async def destroy(self) -> None: ...
    async def close(self) -> None: ...


class PeerSide:
    """whatsapp-web.js."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.events = peer.events

    async def event(self, name: str) -> Any:
        return await self.peer.event(name)

    async def get_state(self) -> str | None:
        state: str | None = await self.peer.call("getState")
        return state

    async def request_pairing_code(self, phone: str) -> str:
        return str(await self.peer.call("requestPairingCode", phone))

    async def cancel_pairing_code(self) -> None:
        await self.peer.call("cancelPairingCode")

    async def backup_now(self) -> None:
        await self.peer.call("storeRemoteSession")

    async def logout(self) -> None:
        await self.peer.call("logout")

    async def destroy(self) -> None:
        await self.peer.call("destroy")

    async def close(self) -> None:
        await self.peer.close()


class OurSide:
    """wwauth."""

    def __init__(self, options: Options, launch_options: dict[str, Any], web_url: str) -> None:
        self.events: list[tuple[str, list[Any]]] = []
        self.errors: list[BaseException] = []
        self._seen: dict[str, int] = {}
        self._changed = asyncio.Event()
        self.client = Client(web_url=web_url, launch_options=launch_options, **options.for_wwauth())
        for name in EVENTS:
            self.client.on(name, self._recorder(name))
        self.client.on("error", self.errors.append)
        self.client.on("backup_failed", self.errors.append)

    def _recorder(self, name: str) -> Any:
        def record(*args: Any) -> None:
            self.events.append((name, list(args)))
            self._changed.set()

        return record

    async def event(self, name: str) -> Any:
        try:
            async with asyncio.timeout(TIMEOUT):
                while not (found := self._next(name)):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(
                f"wwauth did not bring {name!r} within {TIMEOUT:g} s: events {self.events}, errors {self.errors}"
            ) from None
        args = found[0]
        return args if len(args) > 1 else next(iter(args), None)

    def _next(self, name: str) -> list[list[Any]]:
        first = self._seen.get(name, 0)
        for number, (event, args) in enumerate(self.events[first:], first):
            if event == name:
                self._seen[name] = number + 1
                return [args]
        return []

    async def get_state(self) -> str | None:
        return await self.client.get_state()

    async def request_pairing_code(self, phone: str) -> str:
        return await self.client.request_pairing_code(phone)

    async def cancel_pairing_code(self) -> None:
        await self.client.cancel_pairing_code()

    async def backup_now(self) -> None:
        strategy = self.client.auth_strategy
        assert isinstance(strategy, RemoteAuth)
        await strategy.backup_now()

    async def logout(self) -> None:
        await self.client.logout()

    async def destroy(self) -> None:
        await self.client.destroy()

    async def close(self) -> None:
        await self.client.destroy()


class Starter:
    """Starts clients of one kind, and closes them all."""

    def __init__(self, kind: str, node: str, chromium: str, arguments: list[str], folder: Path) -> None:
        self.kind = kind
        self.folder = folder
        self.sides: list[Side] = []
        self._node = node
        self._chromium = chromium
        self._arguments = arguments
        # Chromium's sandbox does not work as root.
        self._root = hasattr(os, "geteuid") and os.geteuid() == 0

    @property
    def is_peer(self) -> bool:
        return self.kind == "whatsapp-web.js"

    async def __call__(self, strategy: str = "NoAuth", **changes: Any) -> Side:
        """Start a client; its profiles and its store lie in `folder`, so that a second one finds what a first one left."""
        changes = {"data_path": self.folder / "auth", "store": self.folder / "store", **changes}
        options = Options(strategy=strategy, **changes)
        return await (self._start_peer(options) if self.is_peer else self._start_ours(options))

    async def close(self) -> None:
        for side in self.sides:
            await side.close()

    async def _start_peer(self, options: Options) -> Side:
        given = options.for_the_peer()
        given["client"] |= {
            "puppeteer": {
                "executablePath": self._chromium,
                "args": [*self._arguments, *(["--no-sandbox"] if self._root else [])],
            },
            # What the peer had cached would be shown in the simulator's place.
            "webVersionCache": {"type": "none"},
        }
        peer = await Peer.start(self._node, given, self.folder / f"peer-{len(self.sides)}")
        side = PeerSide(peer)
        self.sides.append(side)
        await peer.initialized()
        return side

    async def _start_ours(self, options: Options) -> Side:
        launch_options: dict[str, Any] = {"executable_path": self._chromium, "args": self._arguments}
        if self._root:
            launch_options["chromium_sandbox"] = False
        side = OurSide(options, launch_options, "https://web.whatsapp.com/")
        self.sides.append(side)
        await side.client.initialize()
        return side
