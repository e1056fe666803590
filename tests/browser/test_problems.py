"""Problems that users of browser clients report, one by one; docs/parity.md lists all of them, and where each is shown."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import Error

from wwauth import LocalAuth, RemoteAuth
from wwauth.errors import AuthTimeout, BrowserClosed, PairingRefused, StoreUnavailable
from wwauth.stores import FileSystemStore

from .simulated import the_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wwauth.testing import Simulator

    from .conftest import Recorded

pytestmark = pytest.mark.browser


@pytest.fixture(autouse=True)
def _nothing_is_written_into_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path / "working-folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield
    assert list(folder.iterdir()) == []


# A few documents that go away at once, before the page's scripts, and while it starts; then one that stays.
_RESTLESS = """
if (window.top === window && location.protocol.startsWith('http')) {
  const pauses = [0, 30, 100, 250];
  const number = Number(sessionStorage.getItem('documents') ?? 0);
  sessionStorage.setItem('documents', number + 1);
  if (number < pauses.length) setTimeout(() => location.reload(), pauses[number]);
  else window.stays = true;
}
"""


async def settled(it: Recorded, simulator: Simulator, **wanted: object) -> dict[str, Any]:
    """Wait until the document that stays is as wanted, and return what the simulator says of it."""
    async with asyncio.timeout(60):
        while True:
            with suppress(Error):  # it went away
                if await it.client.page.evaluate("window.stays"):
                    return await the_document(simulator, it.client.page, **wanted)
            await asyncio.sleep(0.05)


async def test_a_page_that_loads_itself_anew_while_it_starts(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    it = make_client(auth_strategy=LocalAuth(data_path=tmp_path), eval_on_new_doc=_RESTLESS)
    await it.client.initialize()
    shown = await settled(it, simulator, stage="qr")
    await simulator.phone.scan(shown["qr"])
    await it.client.wait_for("ready", timeout=60)
    assert set(it.names) == {"qr", "loading_screen", "authenticated", "ready"}
    await it.client.destroy()

    # The same for a login that has synced before anybody could listen for it.
    simulator.configure(fast_restore=True)
    it.events.clear()
    await it.client.initialize()
    await it.client.wait_for("ready", timeout=60)
    await settled(it, simulator, stage="ready", diagnosis="ok")
    assert await simulator.phone.send_messages(1) == 1
    assert [name for name in it.names if name not in {"change_state", "loading_screen"}] == ["authenticated", "ready"]


async def test_a_page_that_stays_at_its_opening_is_named_and_the_next_start_works(
    make_client: Callable[..., Recorded], simulator: Simulator, skip_time: Callable[[float], None]
) -> None:
    simulator.configure(open_delay=600)
    it = make_client(auth_timeout_ms=60_000)
    starting = asyncio.create_task(it.client.initialize())
    await it.opens(simulator.url)
    assert it.client._launch is not None
    await it.client._launch.login.alive.wait()
    await it.client.page.evaluate("1")  # by then it waits for a known state
    skip_time(60)
    with pytest.raises(AuthTimeout) as caught:
        await starting
    assert caught.value.phase == "a known login state"
    assert caught.value.last_state in {"OPENING", "UNLAUNCHED"}
    assert it.client.browser_pid is None
    simulator.configure(open_delay=0)
    await it.link(simulator)


# A build of the page in which one module has another name.
_WITHOUT = """
let real;
const without = (name) => {
  if (name === 'WABase64') throw new Error('Requiring unknown module "WABase64"');
  return real(name);
};
Object.defineProperty(window, 'require', { get: () => real && without, set: (value) => { real = value; } });
"""


async def test_a_page_without_a_module_that_is_needed(
    make_client: Callable[..., Recorded],
    simulator: Simulator,
    caplog: pytest.LogCaptureFixture,
    skip_time: Callable[[float], None],
) -> None:
    it = make_client(auth_timeout_ms=60_000, eval_on_new_doc=_WITHOUT)
    starting = asyncio.create_task(it.client.initialize())
    await it.opens(simulator.url)
    while 'not as expected: Requiring unknown module "WABase64"' not in caplog.text:
        assert not starting.done()
        await asyncio.sleep(0.02)
    skip_time(60)
    with pytest.raises(AuthTimeout):
        await starting
    assert it.names == []


# How often the storage was asked to be kept when the disk is nearly full.
_ASKED = """
const persist = StorageManager.prototype.persist;
StorageManager.prototype.persist = function () {
  window.asked = (window.asked ?? 0) + 1;
  return persist.call(this);
};
"""


async def test_after_the_login_no_code_and_no_frame_ends_it(make_client: Callable[..., Recorded], simulator: Simulator) -> None:
    it = make_client(qr_max_retries=1, eval_on_new_doc=_ASKED)
    await it.link(simulator)
    it.events.clear()
    assert await it.client.page.evaluate("window.asked") == 1
    # The page goes on to make codes, which nobody sees.
    await it.client.page.evaluate(
        "() => { for (const ref of ['1', '2', '3']) window.require('WAWebConnModel').Conn.set({ ref }); }"
    )
    # A frame, too, may go to an address by which the page says that it was logged out.
    await it.client.page.evaluate(
        """(address) => new Promise((resolve) => {
          const frame = document.createElement('iframe');
          frame.onload = resolve;
          frame.src = address;
          document.body.append(frame);
        })""",
        simulator.url + "config.json?post_logout=1",
    )
    back = asyncio.ensure_future(it.client.wait_for("change_state", timeout=60, predicate=lambda state: state == "CONNECTED"))
    await simulator.phone.drop(0.2)
    await back
    assert set(it.names) == {"change_state"}
    assert it.client.qr is None


async def test_retries_are_counted_anew_at_each_start(make_client: Callable[..., Recorded], simulator: Simulator) -> None:
    simulator.configure(qr_refresh=0.3)
    it = make_client(qr_max_retries=1)
    for _ in range(2):
        it.events.clear()
        ended = asyncio.ensure_future(it.client.wait_for("disconnected", timeout=60))  # begins when the client has
        await it.client.initialize()
        assert await ended == "Max qrcode retries reached"
        assert it.names == ["qr", "qr", "disconnected"]


async def test_a_pairing_code_that_is_refused_at_the_start_ends_it(make_client: Callable[..., Recorded]) -> None:
    # Digits as they should be, of a number that there is not.
    it = make_client(pair_with_phone_number={"phone_number": "012345678"})
    with pytest.raises(PairingRefused, match="invalid phone number"):
        await it.client.initialize()
    with pytest.raises(BrowserClosed):
        _ = it.client.page
    assert it.names == []


class SwitchedStore(FileSystemStore):
    """A store that can be switched off."""

    down = False

    def _check(self) -> None:
        if self.down:
            raise StoreUnavailable("switched off")

    async def session_exists(self, **arguments: Any) -> bool:
        self._check()
        return await super().session_exists(**arguments)

    async def save(self, **arguments: Any) -> None:
        self._check()
        await super().save(**arguments)

    async def delete(self, **arguments: Any) -> None:
        self._check()
        await super().delete(**arguments)


async def test_a_store_that_is_down_when_the_connection_ends(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    store = SwitchedStore(tmp_path / "store")
    strategy = RemoteAuth(store=store, data_path=tmp_path / "not" / "there" / "yet", backup_sync_interval_ms=600_000)
    it = make_client(auth_strategy=strategy)
    await it.link(simulator)
    await it.backed_up()
    await simulator.phone.send_messages(3)
    it.events.clear()
    store.down = True
    await simulator.phone.conflict()
    assert await it.client.wait_for("disconnected", timeout=60) == "CONFLICT"
    assert [event[0] for event in it.events] == ["change_state", "backup_failed", "disconnected"]
    assert isinstance(it.events[1][1], StoreUnavailable)
    assert it.client.browser_pid is None
    store.down = False
    it.events.clear()
    await it.client.initialize()
    await it.client.wait_for("ready", timeout=60)
    assert not {"qr", "restored"} & set(it.names)  # the profile was kept

    # A logout deletes what it can, and says what it could not.
    store.down = True
    with pytest.raises(StoreUnavailable):
        await it.client.logout()
    assert it.events[-1] == ("disconnected", "LOGOUT")
    assert not (strategy.data_path / "RemoteAuth").exists()
    store.down = False
    await it.client.logout()
    assert not await store.session_exists(session="RemoteAuth")
