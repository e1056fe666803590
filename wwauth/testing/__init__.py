"""
What tests of programs and plug-ins need: a simulated WhatsApp Web, and the contracts of stores, strategies and auth states.

Each is loaded when it is asked for: a store's tests need no web server, a client's tests no pytest.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .._lazy import lazy

if TYPE_CHECKING:
    from .auth_state_contract import AuthStateContract
    from .simulator import Simulator
    from .store_contract import StoreContract
    from .strategy_contract import StrategyContract

__all__ = ["AuthStateContract", "Simulator", "StoreContract", "StrategyContract"]

_HOMES = {
    "AuthStateContract": ".auth_state_contract",
    "Simulator": ".simulator",
    "StoreContract": ".store_contract",
    "StrategyContract": ".strategy_contract",
}

_load, __dir__ = lazy(__name__, _HOMES)


def __getattr__(name: str) -> Any:
    home = __name__ + _HOMES.get(name, "")
    # So that an assertion of a contract that fails shows what it compared, as one of the caller's own tests does.
    if (pytest := sys.modules.get("pytest")) is not None and home not in sys.modules:
        pytest.register_assert_rewrite(home)
    return _load(name)
