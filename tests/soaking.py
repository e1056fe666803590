"""What takes minutes is left to `make soak`: whole tests, longer rounds, and the rest of a test's cases."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from _pytest.mark.structures import ParameterSet

SOAK = os.environ.get("WWAUTH_SOAK") == "1"

soak = pytest.mark.skipif(not SOAK, reason="takes minutes: set WWAUTH_SOAK=1, or run make soak")


def most_in_soak(cases: Iterable[object], *, usual: int | Sequence[object] = 1) -> list[ParameterSet]:
    """
    Return a test's cases, most of which run in `make soak` alone: each costs a browser or two.

    Args:
        cases: The cases; a tuple is one of several arguments.
        usual: Which ones run each time: so many from the first on, or these.
    """
    listed = list(cases)
    chosen = listed[:usual] if isinstance(usual, int) else usual
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=[] if case in chosen else [soak]) for case in listed
    ]
