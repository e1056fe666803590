"""What happens to a login, told once for whatsapp-web.js and for wwauth: each scenario ends when its last event has come."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wwauth.testing import Simulator

    from .sides import Side, Starter

    Scenario = Callable[[Starter, Simulator], Awaitable[None]]

PHONE = "15551234567"


async def link(side: Side, simulator: Simulator) -> None:
    """Scan the code on the screen, and wait until the login works."""
    await simulator.phone.scan(await side.event("qr"))
    await side.event("ready")


def page(simulator: Simulator) -> dict[str, Any]:
    """Return what the simulator knows of the one page that is open."""
    pages: list[dict[str, Any]] = simulator.state()["pages"]
    assert len(pages) == 1, pages
    return pages[0]


async def qr(start: Starter, simulator: Simulator) -> None:
    side = await start()
    await link(side, simulator)
    assert await side.get_state() == "CONNECTED"


async def qr_renewed(start: Starter, simulator: Simulator) -> None:
    side = await start()
    first = await side.event("qr")
    await simulator.phone.rotate_qr()
    second = await side.event("qr")
    assert first != second
    await simulator.phone.scan(second)
    await side.event("ready")


async def qr_retries(start: Starter, simulator: Simulator) -> None:
    side = await start(qr_max_retries=1)
    await side.event("qr")
    await simulator.phone.rotate_qr()
    await side.event("qr")
    await side.event("disconnected")


async def pairing_code(start: Starter, simulator: Simulator) -> None:
    side = await start(pair_with_phone_number=PHONE)
    await simulator.phone.enter_code(await side.event("code"))
    await side.event("ready")


async def pairing_code_on_request(start: Starter, simulator: Simulator) -> None:
    side = await start()
    await side.event("qr")
    code = await side.request_pairing_code(PHONE)
    assert code == await side.event("code")
    await simulator.phone.enter_code(code)
    await side.event("ready")


async def pairing_code_cancelled(start: Starter, simulator: Simulator) -> None:
    side = await start(pair_with_phone_number=PHONE)
    await side.event("code")
    await side.cancel_pairing_code()


async def local_restart(start: Starter, simulator: Simulator) -> None:
    side = await start("LocalAuth")
    await link(side, simulator)
    await side.destroy()
    side = await start("LocalAuth")
    await side.event("ready")
    assert page(simulator)["diagnosis"] == "ok"


async def remote_restore(start: Starter, simulator: Simulator) -> None:
    side = await start("RemoteAuth")
    await link(side, simulator)
    await side.backup_now()
    await side.event("remote_session_saved")
    await side.destroy()
    shutil.rmtree(start.folder / "auth")
    # The peer does not restore into a data path that is not there.
    (start.folder / "auth").mkdir()
    side = await start("RemoteAuth")
    await side.event("ready")
    assert page(simulator)["diagnosis"] == "ok"


async def logout(start: Starter, simulator: Simulator) -> None:
    side = await start("LocalAuth")
    await link(side, simulator)
    await side.logout()
    assert simulator.state()["devices"] == {}


async def logout_on_the_phone(start: Starter, simulator: Simulator) -> None:
    side = await start("LocalAuth")
    await link(side, simulator)
    await simulator.phone.unlink()
    await side.event("disconnected")
    if start.is_peer:
        await side.event("qr")  # it goes on in the same browser


async def conflict(start: Starter, simulator: Simulator) -> None:
    side = await start("LocalAuth")
    await link(side, simulator)
    await simulator.phone.conflict()
    await side.event("disconnected")


async def takeover(start: Starter, simulator: Simulator) -> None:
    side = await start(takeover_on_conflict=True)
    await link(side, simulator)
    await simulator.phone.conflict()
    while await side.event("change_state") != "CONNECTED":
        pass
    assert await side.get_state() == "CONNECTED"


async def connection_lost(start: Starter, simulator: Simulator) -> None:
    side = await start()
    await link(side, simulator)
    await simulator.phone.drop(1)
    while await side.event("change_state") != "CONNECTED":
        pass
    assert await side.get_state() == "CONNECTED"


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        qr,
        qr_renewed,
        qr_retries,
        pairing_code,
        pairing_code_on_request,
        pairing_code_cancelled,
        local_restart,
        remote_restore,
        logout,
        logout_on_the_phone,
        conflict,
        takeover,
        connection_lost,
    )
}
