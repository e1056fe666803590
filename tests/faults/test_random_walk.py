"""Random actions against the invariants of a login; the long walks are in the soak tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from wwauth.testing import Simulator

from ..soak.walk import QUICK, Walk
from ..soaking import SOAK, most_in_soak

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.browser


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "options", most_in_soak([{"relaunch_on_logout": True, "restart_on_crash": 5}, {}]), ids=["relaunching", "plain"]
)
async def test_a_walk(tmp_path: Path, launch_options: dict[str, Any], options: dict[str, Any]) -> None:
    async with Simulator(**QUICK) as simulator:
        await Walk(tmp_path, simulator, launch_options, seed=11, **options).run(50 if SOAK else 8)
