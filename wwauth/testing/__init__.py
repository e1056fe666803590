"""
What tests of programs and plug-ins need: a simulated WhatsApp Web, and the contract that every store passes.

Both are loaded when they are asked for: a store's tests need no web server, a client's tests no pytest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .simulator import Simulator
    from .store_contract import StoreContract

__all__ = ["Simulator", "StoreContract"]

_HOMES = {"Simulator": "simulator", "StoreContract": "store_contract"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
