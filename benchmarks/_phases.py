"""Where the time of a save or a restore goes: the engine's own steps, timed."""

from __future__ import annotations

import functools
import inspect
import time
from typing import TYPE_CHECKING, Any

from wwauth.backup import _fetch, _kind, _packed, engine
from wwauth.backup._remote import Remote

if TYPE_CHECKING:
    from collections.abc import Callable

# Steps that follow each other. One that a step calls belongs to that step.
STEPS: tuple[tuple[str, object, str], ...] = (
    ("copy and check the databases", _kind, "take_snapshot"),
    ("find what changed", _packed, "make_plan"),
    ("hash and compress", _packed, "write_pack"),
    ("upload, flushed to the disk", Remote, "save"),
    ("read the index", engine, "look"),
    ("read the index", _packed, "look"),
    ("download", Remote, "extract"),
    ("read the pack back and compare", _packed, "read_back"),
    ("save the index, read it back", _packed, "save_index"),
    ("create the files", _fetch, "prepare_files"),
    ("check digests, unpack, write", _fetch, "unpack"),
    ("check the databases", _kind, "cut_tails"),
    ("check the databases", _kind, "validate_profile"),
    ("flush to the disk", engine, "sync_tree"),
    ("delete temporary files", engine, "removed"),
)


class Phases:
    """Seconds by step, once `watch` was called; one call of the engine at a time."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inside = False

    def watch(self) -> None:
        """Time the steps from now on."""
        for label, where, name in STEPS:
            step = getattr(where, name)
            setattr(
                where, name, self._timed_async(label, step) if inspect.iscoroutinefunction(step) else self._timed(label, step)
            )

    def _begin(self) -> float | None:
        if self._inside:
            return None
        self._inside = True
        return time.perf_counter()

    def _end(self, label: str, began: float | None) -> None:
        if began is not None:
            self._inside = False
            self.seconds[label] = self.seconds.get(label, 0.0) + time.perf_counter() - began

    def _timed(self, label: str, step: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(step)
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = self._begin()
            try:
                return step(*args, **kwargs)
            finally:
                self._end(label, began)

        return timed

    def _timed_async(self, label: str, step: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(step)
        async def timed(*args: Any, **kwargs: Any) -> Any:
            began = self._begin()
            try:
                return await step(*args, **kwargs)
            finally:
                self._end(label, began)

        return timed
