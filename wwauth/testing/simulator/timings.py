"""How fast the simulated site is, and how much of everything there is."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import ControlRefused

__all__ = ["Timings"]


class Timings(BaseModel):
    """
    The simulator's timings, in seconds, and its amounts; all can be changed while it runs.

    Attributes:
        qr_refresh: How long a code is valid before the next one replaces it.
        qr_refs: How many codes there are in a round; after the last one the page goes UNPAIRED_IDLE.
        code_lifetime: How long a pairing code is valid.
        open_delay: From the page's start to its first contact with the server.
        pair_delay: How long the page is PAIRING.
        listener_wait: How long the end of the first sync waits for somebody to listen for it. Clients that do not look at
            `Socket.hasSynced`, as whatsapp-web.js does not, would otherwise lose a race that the real site lets them win.
        sync_delay: From CONNECTED to the end of the sync.
        sync_steps: How many steps of progress there are.
        fast_restore: A restored login has synced before the page shows its modules, so that there is no edge to listen for.
        retry_delay: How long the page waits before it tries a lost connection again.
        logout_delay: From the news of a logout to the page's leaving for `/?post_logout=1`.
        ratchet_interval: How often the signal keys move on by themselves.
        storage_lag: How far localStorage may be behind IndexedDB: Chromium limits its commits to 60 an hour.
        storage_lead: How far localStorage may be ahead, in a copy that took IndexedDB first.
        history: How many messages a newly linked device is sent.
        history_size: The size of each, in bytes.
        media_every: Each how many-th message has a file.
        media_size: The size of such a file, in bytes.
        legacy: Devices that are linked from now on are those of an account without multi-device: all that is kept of their
            login is four keys in localStorage, which log in from any profile.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    qr_refresh: float = Field(default=20.0, gt=0)
    qr_refs: int = Field(default=6, ge=1)
    code_lifetime: float = Field(default=180.0, gt=0)
    open_delay: float = Field(default=0.05, ge=0)
    pair_delay: float = Field(default=0.2, ge=0)
    listener_wait: float = Field(default=5.0, ge=0)
    sync_delay: float = Field(default=0.5, ge=0)
    sync_steps: int = Field(default=5, ge=1, le=100)
    fast_restore: bool = False
    retry_delay: float = Field(default=0.25, gt=0)
    logout_delay: float = Field(default=0.3, ge=0)
    ratchet_interval: float = Field(default=1.0, gt=0)
    storage_lag: float = Field(default=90.0, ge=0)
    storage_lead: float = Field(default=10.0, ge=0)
    history: int = Field(default=40, ge=0, le=10_000)
    history_size: int = Field(default=1_500, ge=1, le=1_000_000)
    media_every: int = Field(default=20, ge=1)
    media_size: int = Field(default=100_000, ge=0, le=16_000_000)
    web_version: str = Field(default="2.3000.1034567890", pattern=r"^[0-9.]+$")
    legacy: bool = False

    def changed(self, changes: dict[str, Any]) -> Timings:
        """
        Return a copy with these changes.

        Raises:
            ControlRefused: There is no such timing, or its value is wrong.
        """
        try:
            return Timings.model_validate({**self.model_dump(), **changes})
        except ValidationError as exc:
            first = exc.errors()[0]
            name = str(first["loc"][0])
            if first["type"] == "extra_forbidden":
                raise ControlRefused(f"unknown timing {name!r}: use one of {', '.join(Timings.model_fields)}") from None
            raise ControlRefused(f"invalid {name} {changes.get(name)!r}: {first['msg'].lower()}") from None
