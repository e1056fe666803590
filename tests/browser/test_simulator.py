"""The simulator's page and phone, on real Chromium without a wwauth Client."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import Error as PlaywrightError

from wwauth.testing import Simulator
from wwauth.testing.simulator import ControlRefused

from .simulated import QUICK, SITE, chromium_on, scan, the_document, the_page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from playwright.async_api import Page

pytestmark = pytest.mark.browser

SOCKET = "window.require('WAWebSocketModel').Socket"
CONN = "window.require('WAWebConnModel').Conn"
LINKING = "window.require('WAWebAltDeviceLinkingApi')"

# What a client sees of Socket.state, from now on.
WATCH = (
    f"() => {{ window.seen = []; {SOCKET}.on('change:state', (socket, state, before) => window.seen.push([before, state])); }}"
)


@pytest.fixture
def opened(
    tmp_path: Path, launch_options: dict[str, Any]
) -> Callable[..., AbstractAsyncContextManager[tuple[Simulator, Page]]]:
    """Return `opened(**options)`: a simulator, and a browser on its page."""

    @asynccontextmanager
    async def open_it(url: str = SITE, **options: Any) -> AsyncIterator[tuple[Simulator, Page]]:
        async with (
            Simulator(**{**QUICK, **options}) as simulator,
            chromium_on(simulator, tmp_path / "profile", launch_options) as (_, page),
        ):
            await page.goto(url.format(simulator))
            yield simulator, page

    return open_it


Opened = "Callable[..., AbstractAsyncContextManager[tuple[Simulator, Page]]]"


@pytest.mark.parametrize("url", ["{0.url}", "{0.tls_url}", SITE])
async def test_from_a_code_to_synced(opened: Callable[..., Any], url: str) -> None:
    async with opened(url) as (simulator, page):
        shown = await the_page(simulator, stage="qr", state="UNPAIRED", diagnosis="fresh")
        assert len(shown["qr"].split(",")) == 5
        assert await page.locator("#qr").get_attribute("src") is not None
        assert await page.evaluate("document.querySelector('#qr').decode().then(() => true)") is True
        await page.evaluate(WATCH)
        device = await scan(simulator)
        assert await page.evaluate("window.seen") == [["UNPAIRED", "PAIRING"], ["PAIRING", "CONNECTED"]]
        assert await page.evaluate(f"{SOCKET}.hasSynced") is True
        told = simulator.pages[0]
        assert (told["device"], told["diagnosis"], told["qr"], told["code"]) == (device, "ok", None, None)
        assert (told["messages"], told["damaged"]) == (40, 0)
        assert simulator.devices[device]["number"] == "15551234567"
        me = await page.evaluate("window.require('WAWebUserPrefsMeUser').getMaybeMePnUser()")
        assert me == {"server": "c.us", "user": "15551234567", "_serialized": "15551234567@c.us"}
        assert (await page.evaluate(f"{CONN}.serialize().pushname")) == "Simulated phone"


async def test_the_policy_forbids_what_the_real_one_forbids(opened: Callable[..., Any]) -> None:
    inline = """() => new Promise((resolve) => {
      const script = document.createElement('script');
      script.textContent = 'window.inline = true';
      document.head.append(script);
      // Later, since what the debugger itself runs may always evaluate.
      setTimeout(() => {
        try { new Function('window.evaluated = true')(); } catch {}
        resolve([window.inline === true, window.evaluated === true]);
      });
    })"""
    async with opened() as (_, page):
        assert await page.evaluate(inline) == [False, False]
    async with opened(csp=False) as (_, page):
        assert await page.evaluate(inline) == [True, True]


async def test_codes_follow_each_other_until_the_page_is_idle(opened: Callable[..., Any]) -> None:
    async with opened(qr_refresh=60, qr_refs=3) as (simulator, page):
        first = (await the_page(simulator, stage="qr"))["qr"]
        await page.evaluate(f"() => {{ window.refs = []; {CONN}.on('change:ref', (_, ref) => window.refs.push(ref)); }}")
        simulator.configure(qr_refresh=0.1)
        await simulator.phone.rotate_qr()  # the first one keeps its time
        await the_page(simulator, stage="idle", state="UNPAIRED_IDLE", qr=None)
        refs = await page.evaluate("window.refs")
        assert len({first.split(",")[0], *refs}) == len(refs) + 1 == 3
        with pytest.raises(ControlRefused, match="has expired") as caught:
            await simulator.phone.scan(first)
        assert caught.value.status == 409
        simulator.configure(qr_refresh=60)
        await page.evaluate("window.require('WAWebCmd').Cmd.refreshQR()")
        shown = await the_page(simulator, stage="qr", state="UNPAIRED")
        await simulator.phone.rotate_qr()
        rotated = await simulator.wait_for(lambda: simulator.pages[0]["qr"] != shown["qr"] and simulator.pages[0]["qr"])
        with pytest.raises(ControlRefused, match="has expired"):
            await simulator.phone.scan(shown["qr"])
        await simulator.phone.scan(rotated)


async def test_only_the_exact_text_links(opened: Callable[..., Any]) -> None:
    async with opened() as (simulator, _):
        ref, noise, *rest = (await the_page(simulator, stage="qr"))["qr"].split(",")
        for wrong, said in (
            ("", "invalid QR text"),
            (ref, "invalid QR text"),
            (",".join([ref, noise[::-1], *rest]), "are not the page's"),
            (",".join(["2@unknown", noise, *rest]), "no page shows"),
        ):
            with pytest.raises(ControlRefused, match=said):
                await simulator.phone.scan(wrong)
        assert simulator.devices == {}
        await simulator.phone.scan(",".join([ref, noise, *rest]))
        assert len(simulator.devices) == 1


async def test_a_pairing_code(opened: Callable[..., Any]) -> None:
    async with opened() as (simulator, page):
        await the_page(simulator, stage="qr")
        flow = """([phone, type]) => {
          const linking = window.require('WAWebAltDeviceLinkingApi');
          linking.setPairingType(type);
          return linking.startAltLinkingFlow(phone, true);
        }"""
        for phone, kind in (("+15557654321", "ALT_DEVICE_LINKING"), ("0555", "ALT_DEVICE_LINKING"), ("15557654321", "QR")):
            with pytest.raises(PlaywrightError):
                await page.evaluate(flow, [phone, kind])
        code = await page.evaluate(flow, ["15557654321", "ALT_DEVICE_LINKING"])
        assert len(code) == 8
        await the_page(simulator, stage="code", state="UNPAIRED", code=code, qr=None)
        with pytest.raises(ControlRefused, match="no page shows the pairing code"):
            await simulator.phone.enter_code("AAAA-AAAA")
        device = await simulator.phone.enter_code(f"{code[:4]}-{code[4:]}".lower())
        assert simulator.devices[device]["number"] == "15557654321"
        await the_page(simulator, stage="ready", diagnosis="ok")
        with pytest.raises(PlaywrightError, match="linked already"):
            await page.evaluate(flow, ["15557654321", "ALT_DEVICE_LINKING"])


async def test_a_pairing_code_ends(opened: Callable[..., Any]) -> None:
    async with opened(code_lifetime=0.2) as (simulator, page):
        await the_page(simulator, stage="qr")
        await page.evaluate(f"{LINKING}.setPairingType('ALT_DEVICE_LINKING')")
        code = await page.evaluate(f"{LINKING}.startAltLinkingFlow('15557654321', false)")
        await the_page(simulator, stage="idle", state="UNPAIRED_IDLE", code=None)
        with pytest.raises(ControlRefused):
            await simulator.phone.enter_code(code)
        await page.evaluate(f"{LINKING}.initializeQRLinking()")
        await page.evaluate("window.require('WAWebLaunchSocketUtils').refreshQR()")
        await the_page(simulator, stage="qr", state="UNPAIRED")


async def test_conflict_takeover_and_reconnect(opened: Callable[..., Any]) -> None:
    async with opened() as (simulator, page):
        await the_page(simulator, stage="qr")
        with pytest.raises(ControlRefused, match="no device is linked"):
            await simulator.phone.conflict()
        await scan(simulator)
        await page.evaluate(WATCH)
        await simulator.phone.conflict()
        stopped = await the_page(simulator, stage="conflict", state="CONFLICT")
        await simulator.phone.drop(60)
        assert [each["stage"] for each in simulator.pages] == ["offline"]
        await simulator.phone.drop(0)
        await the_page(simulator, stage="conflict", state="CONFLICT")
        with pytest.raises(ControlRefused, match="on line"):
            await simulator.phone.conflict()
        await page.evaluate(f"{SOCKET}.takeover()")
        await the_page(simulator, stage="ready", state="CONNECTED")
        await simulator.wait_for(lambda: simulator.pages[0]["index"] > stopped["index"])
        await page.evaluate(f"{SOCKET}.reconnect()")
        await simulator.wait_for(lambda: next(iter(simulator.devices.values()))["logins"] == 3)
        await the_page(simulator, stage="ready", state="CONNECTED")
        states = [state for _, state in await page.evaluate("window.seen")]
        assert states == ["CONFLICT", "OPENING", "CONNECTED", "OPENING", "CONNECTED"]


async def test_a_second_tab_puts_the_first_in_conflict(opened: Callable[..., Any]) -> None:
    async with opened() as (simulator, page):
        await the_page(simulator, stage="qr")
        await scan(simulator)
        second = await page.context.new_page()
        await second.goto(SITE)
        await simulator.wait_for(lambda: [each["stage"] for each in simulator.pages] == ["conflict", "ready"])
        await page.evaluate(f"{SOCKET}.takeover()")
        await simulator.wait_for(lambda: [each["stage"] for each in simulator.pages] == ["ready", "conflict"])
        await second.close()
        await page.reload()
        await the_document(simulator, page, stage="ready", diagnosis="ok")


async def test_the_network_comes_back(opened: Callable[..., Any]) -> None:
    async with opened() as (simulator, page):
        await the_page(simulator, stage="qr")
        await scan(simulator)
        await page.evaluate(WATCH)
        await simulator.phone.ghost()
        await page.evaluate(f"void (window.asked = {SOCKET}.logout().catch((error) => error.message))")
        await simulator.phone.drop(60)
        assert await page.evaluate("window.asked") == "the connection was lost before there was an answer"
        assert simulator.pages[0]["stage"] == "offline"
        assert await simulator.phone.send_messages(3) == 0  # they wait
        with pytest.raises(PlaywrightError, match="there is no connection"):
            await page.evaluate(f"{SOCKET}.logout()")
        await simulator.phone.drop(0)
        told = await the_page(simulator, stage="ready", state="CONNECTED")
        await simulator.wait_for(lambda: simulator.pages[0]["messages"] == 43)
        assert [state for _, state in await page.evaluate("window.seen")] == ["TIMEOUT", "OPENING", "CONNECTED"]
        assert told["diagnosis"] == "ok"


async def test_states_that_no_phone_makes_can_be_pushed(opened: Callable[..., Any]) -> None:
    async with opened() as (simulator, page):
        await the_page(simulator, stage="qr")
        with pytest.raises(ControlRefused, match="unknown state 'ASLEEP'"):
            await simulator.phone.push_state("ASLEEP")
        await page.evaluate(WATCH)
        await simulator.phone.push_state("PROXYBLOCK")
        await the_page(simulator, state="PROXYBLOCK")
        assert await page.evaluate("window.seen") == [["UNPAIRED", "PROXYBLOCK"]]


async def test_messages_that_waited_bring_the_progress(opened: Callable[..., Any]) -> None:
    async with opened(history=0) as (simulator, page):
        await the_page(simulator, stage="qr")
        with pytest.raises(ControlRefused, match="no device is linked"):
            await simulator.phone.send_messages(1)
        device = await scan(simulator)
        await page.goto("about:blank")
        await simulator.wait_for(lambda: not simulator.pages)
        assert await simulator.phone.send_messages(120, 500) == 0
        assert simulator.devices[device]["waiting"] == 120
        await page.add_init_script("""
          window.percents = [];
          const wait = setInterval(() => {
            if (!window.Debug) return;
            clearInterval(wait);
            const { OfflineMessageHandler: handler } = window.require('WAWebOfflineHandler');
            window.require('WAWebCmd').Cmd.on('offline_progress_update_from_bridge', () => {
              window.percents.push(handler.getOfflineDeliveryProgress());
            });
          }, 1);
        """)
        simulator.configure(sync_delay=0.3)
        await page.goto(SITE)
        told = await the_document(simulator, page, stage="ready")
        assert (told["messages"], told["damaged"], simulator.devices[device]["waiting"]) == (120, 0, 0)
        percents = await page.evaluate("window.percents")
        assert percents == sorted(set(percents))
        assert percents[-1] == 100


async def test_a_fast_restore_has_synced_before_anybody_can_listen(opened: Callable[..., Any]) -> None:
    async with opened() as (simulator, page):
        await the_page(simulator, stage="qr")
        await scan(simulator)
        simulator.configure(fast_restore=True)
        await page.add_init_script("""
          let value;
          Object.defineProperty(window, 'Debug', {
            get: () => value,
            set: (debug) => {
              value = debug;
              const { Socket } = window.require('WAWebSocketModel');
              window.atFirst = [Socket.state, Socket.hasSynced];
            },
          });
        """)
        await page.goto(SITE)
        await the_document(simulator, page, stage="ready", diagnosis="ok")
        assert await page.evaluate("window.atFirst") == ["CONNECTED", True]


async def test_the_page_logs_itself_out(opened: Callable[..., Any]) -> None:
    async with opened() as (simulator, page):
        await the_page(simulator, stage="qr")
        await scan(simulator)
        # Asked for at once, since the page goes away soon after.
        heard = await page.evaluate(f"""async () => {{
          const heard = [];
          window.require('WAWebCmd').Cmd.on('logout logout_from_bridge', () => heard.push({SOCKET}.state));
          await {SOCKET}.logout();
          return heard;
        }}""")
        assert heard == ["CONNECTED"]
        assert simulator.devices == {}
        await the_page(simulator, stage="qr", diagnosis="logged-out")
        await page.wait_for_url(lambda url: "post_logout=1" in url)


async def test_damage_is_found_while_the_page_runs(opened: Callable[..., Any]) -> None:
    async with opened() as (simulator, page):
        await the_page(simulator, stage="qr")
        await scan(simulator)
        await page.evaluate("""() => new Promise((resolve, reject) => {
          const request = indexedDB.open('model-storage');
          request.onerror = reject;
          request.onsuccess = () => {
            const transaction = request.result.transaction('message', 'readwrite');
            transaction.objectStore('message').delete(7);
            transaction.oncomplete = () => { request.result.close(); resolve(); };
          };
        })""")
        assert [(page["messages"], page["damaged"]) for page in await simulator.check()] == [(39, 1)]


async def test_modules_and_emitters_are_the_real_pages(opened: Callable[..., Any]) -> None:
    async with opened() as (simulator, page):
        await the_page(simulator, stage="qr")
        with pytest.raises(PlaywrightError, match='unknown module "WAWebNothing"'):
            await page.evaluate("window.require('WAWebNothing')")
        heard = await page.evaluate("""() => {
          const { Msg } = window.require('WAWebCollections');
          const heard = [];
          const both = (...args) => heard.push(args);
          Msg.on('change:body change:caption', both);
          Msg.once('remove', both);
          Msg.trigger('change:body', 1, 2).trigger('change:caption', 3).trigger('remove').trigger('remove');
          Msg.off('change:caption', both);
          Msg.trigger('change:caption', 4).trigger('change:body', 5);
          return heard;
        }""")
        assert heard == [[1, 2], [3], [], [5]]
        await page.evaluate("""() => {
          const utils = window.require('WAWebMiscBrowserUtils');
          const info = utils.info;
          utils.info = () => ({ ...info(), os: 'My bot' });
        }""")
        device = await scan(simulator)
        assert simulator.devices[device]["name"]["os"] == "My bot"


async def test_what_a_restart_keeps(opened: Callable[..., Any], tmp_path: Path, launch_options: dict[str, Any]) -> None:
    state = tmp_path / "state" / "simulator.json"
    simulator = Simulator(state_file=state, **QUICK)
    async with chromium_on_restarting(simulator, tmp_path, launch_options) as page:
        await page.goto(simulator.url)
        await the_page(simulator, stage="qr")
        device = await scan(simulator)
        ports = (simulator.port, simulator.tls_port)
        await simulator.close()
        again = Simulator(state_file=state, **QUICK)
        async with again:
            assert (again.port, again.tls_port) == ports
            assert list(again.devices) == [device]
            told = await the_page(again, stage="ready", state="CONNECTED")  # it has come back by itself
            assert (told["device"], told["diagnosis"]) == (device, "ok")


@asynccontextmanager
async def chromium_on_restarting(simulator: Simulator, folder: Path, launch_options: dict[str, Any]) -> AsyncIterator[Page]:
    await simulator.start()
    try:
        async with chromium_on(simulator, folder / "profile", launch_options) as (_, page):
            yield page
    finally:
        await simulator.close()
