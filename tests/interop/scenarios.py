"""What happens to a login, told once for whatsapp-web.js and for wwauth: each scenario ends when its last event has come."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from .sides import PeerSide

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


async def save_and_close(side: Side) -> None:
    """Have the login saved to the store, and close the browser."""
    if isinstance(side, PeerSide):
        # Its copy of a running browser's databases may be torn, and is first taken a minute after `ready`.
        await side.destroy()
        await side.backup_now()
        await side.event("remote_session_saved")
        await side.close()  # else the save that it has scheduled comes, although it is destroyed
    else:
        await side.event("remote_session_saved")
        await side.destroy()


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


async def qr_round_over(start: Starter, simulator: Simulator) -> None:
    simulator.configure(qr_refs=2)
    side = await start()
    await side.event("qr")
    for _ in range(2):
        await simulator.phone.rotate_qr()
    await side.event("qr")
    if start.is_peer:
        await simulator.wait_for(lambda: page(simulator)["state"] == "UNPAIRED_IDLE")
    else:
        await side.event("qr")


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
    side = await start()
    await side.event("qr")
    await side.request_pairing_code(PHONE)
    await side.cancel_pairing_code()
    await simulator.phone.scan(await side.event("qr"))
    await side.event("ready")


async def pairing_code_from_the_start_cancelled(start: Starter, simulator: Simulator) -> None:
    side = await start(pair_with_phone_number=PHONE)
    await side.event("code")
    await side.cancel_pairing_code()
    await simulator.wait_for(lambda: page(simulator)["qr"])
    if not start.is_peer:
        await side.event("qr")


async def local_restart(start: Starter, simulator: Simulator) -> None:
    side = await start("LocalAuth")
    await link(side, simulator)
    await side.destroy()
    side = await start("LocalAuth")
    await side.event("ready")
    await simulator.wait_for(lambda: page(simulator)["diagnosis"] == "ok")


async def local_restart_in_a_flash(start: Starter, simulator: Simulator) -> None:
    side = await start("LocalAuth")
    await link(side, simulator)
    await side.destroy()
    simulator.configure(fast_restore=True)
    side = await start("LocalAuth")
    if start.is_peer:
        await simulator.wait_for(lambda: page(simulator)["diagnosis"] == "ok")
        assert await side.get_state() == "CONNECTED"
    else:
        await side.event("ready")


async def remote_restore(start: Starter, simulator: Simulator) -> None:
    side = await start("RemoteAuth")
    await link(side, simulator)
    await save_and_close(side)
    shutil.rmtree(start.folder / "auth")
    # The peer does not restore into a data path that is not there.
    (start.folder / "auth").mkdir()
    side = await start("RemoteAuth")
    await side.event("ready")
    await simulator.wait_for(lambda: page(simulator)["diagnosis"] == "ok")


async def logout(start: Starter, simulator: Simulator) -> None:
    # Else whatsapp-web.js's own handler of the page's next navigation runs, or not, before its browser has closed.
    simulator.configure(logout_delay=60)
    side = await start("LocalAuth")
    await link(side, simulator)
    await side.logout()
    assert simulator.state()["devices"] == {}


async def logout_on_the_phone(start: Starter, simulator: Simulator) -> None:
    side = await start("LocalAuth")
    await link(side, simulator)
    await simulator.phone.unlink()
    await side.event("disconnected")
    assert start.is_peer or not (start.folder / "auth" / "session").exists()


async def conflict(start: Starter, simulator: Simulator) -> None:
    side = await start("LocalAuth")
    await link(side, simulator)
    await simulator.phone.conflict()
    await side.event("disconnected")


async def conflict_with_a_backup(start: Starter, simulator: Simulator) -> None:
    side = await start("RemoteAuth")
    await link(side, simulator)
    await save_and_close(side)
    side = await start("RemoteAuth")
    await side.event("ready")
    await simulator.phone.conflict()
    await side.event("disconnected")
    await side.close()
    assert (start.folder / "store" / "RemoteAuth.zip").exists() is not start.is_peer
    # The peer deletes the profile, too, as far as the browser that runs on it lets it.
    assert start.is_peer or (start.folder / "auth" / "RemoteAuth").exists()


async def proxy_blocked(start: Starter, simulator: Simulator) -> None:
    side = await start("LocalAuth")
    await link(side, simulator)
    await simulator.phone.push_state("PROXYBLOCK")
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
    await simulator.phone.drop(3600)
    await simulator.wait_for(lambda: page(simulator)["stage"] == "offline")
    await simulator.phone.drop(0)
    while await side.event("change_state") != "CONNECTED":
        pass
    assert await side.get_state() == "CONNECTED"


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        qr,
        qr_renewed,
        qr_retries,
        qr_round_over,
        pairing_code,
        pairing_code_on_request,
        pairing_code_cancelled,
        pairing_code_from_the_start_cancelled,
        local_restart,
        local_restart_in_a_flash,
        remote_restore,
        logout,
        logout_on_the_phone,
        conflict,
        conflict_with_a_backup,
        proxy_blocked,
        takeover,
        connection_lost,
    )
}
