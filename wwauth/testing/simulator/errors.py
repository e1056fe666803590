"""The one error of the simulator's controls."""

from __future__ import annotations

from ...errors import ConfigurationError

__all__ = ["ControlRefused"]


class ControlRefused(ConfigurationError):
    """
    The phone or the server was asked for what cannot be; the message names the value and the cure.

    Attributes:
        status: What the same request gets over HTTP: 400 for a wrong value, 409 for a wrong moment.
    """

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
