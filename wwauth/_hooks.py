"""Calling a strategy's hooks: what they raise becomes one of wwauth's errors."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .abc import AuthenticationNeeded
from .errors import StrategyError, WWAuthError

if TYPE_CHECKING:
    from .abc import AuthStrategy


class HookFailed(Exception):
    """A hook raised; apart from the `error` that it is told as, so that no other error is mistaken for it."""

    def __init__(self, error: WWAuthError) -> None:
        super().__init__(str(error))
        self.error = error


async def call_hook(strategy: AuthStrategy, name: str) -> Any:
    """Await a hook and return what it returns; `HookFailed` when it raises, or answers with what is no answer."""
    try:
        answer = await getattr(strategy, name)()
    except asyncio.CancelledError as exc:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Nobody cancelled the client: something that the hook awaited was.
        raise HookFailed(as_error(strategy, name, exc)) from exc
    except Exception as exc:
        raise HookFailed(as_error(strategy, name, exc)) from exc
    if name == "on_authentication_needed" and not isinstance(answer, AuthenticationNeeded):
        returned = f"{type(strategy).__name__}.{name}() returned {type(answer).__name__}"
        raise HookFailed(StrategyError(f"{returned}: return an AuthenticationNeeded"))
    return answer


def as_error(strategy: AuthStrategy, name: str, exc: BaseException) -> WWAuthError:
    """Return what a hook raised as one of wwauth's errors: as it is, or as the cause of a `StrategyError`."""
    if isinstance(exc, WWAuthError):
        return exc
    # Without the exception's own words, which may hold what a log must not; it is the cause.
    error = StrategyError(f"{type(strategy).__name__}.{name}() raised {type(exc).__name__}: mend the strategy")
    error.__cause__ = exc
    return error
