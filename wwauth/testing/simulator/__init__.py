"""
A WhatsApp Web that needs no WhatsApp: a real page for real browsers, its server, and a phone to link them with.

The page has the surface that unmodified whatsapp-web.js uses up to `ready`, and keeps its login as the real one does, in
several IndexedDB databases and in localStorage. Every place carries a seal, so that the page can tell a whole login from a
torn one; the server keeps the list of linked devices and asks for a proof at each login.
"""

from __future__ import annotations

from .errors import ControlRefused
from .phone import Phone
from .simulator import Simulator
from .timings import Timings

__all__ = ["ControlRefused", "Phone", "Simulator", "Timings"]
