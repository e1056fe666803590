"""No login is kept."""

from __future__ import annotations

from ..abc import AuthStrategy

__all__ = ["NoAuth"]


class NoAuth(AuthStrategy):
    """Keep nothing: each launch has a throw-away profile, and a code to scan. The default, as in whatsapp-web.js."""
