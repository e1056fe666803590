"""LegacySessionAuth on accounts without multi-device, and its refusal of all others."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from wwauth import LegacySessionAuth
from wwauth.errors import AuthenticationFailed, BrowserClosed, SessionClosed
from wwauth.testing import Simulator

from ..soaking import most_in_soak, soak
from .simulated import both_addresses, the_page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from wwauth import AuthenticationNeeded, Client

    from .conftest import Recorded

# That the strategy is deprecated is tests/unit/test_legacy_session.py's to say.
pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore:LegacySessionAuth is deprecated:DeprecationWarning")]

KEYS = ["WABrowserId", "WASecretBundle", "WAToken1", "WAToken2"]
WRONG = dict.fromkeys(KEYS, '"wrong hunter2"')

REFERER = "https://whatsapp.com/"  # of the library's own navigation


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(qr_refresh=3600, pair_delay=0.05, sync_delay=0.2, legacy=True) as running:
        yield running


async def link(it: Recorded, simulator: Simulator) -> dict[str, str]:
    """Scan, and return the session as a program gets it back from its JSON file."""
    await it.link(simulator)
    session: dict[str, str] = json.loads(json.dumps(await it.client.wait_for("authenticated")))
    return session


async def restored(it: Recorded) -> object:
    """Start without a phone, and return the session."""
    await it.client.initialize()
    await it.client.wait_for("ready", timeout=30)
    assert it.names == ["loading_screen", "authenticated", "ready"] or it.names == ["authenticated", "ready"]
    return await it.client.wait_for("authenticated")


async def local_storage(client: Client) -> dict[str, str]:
    stored: dict[str, str] = await client.page.evaluate("({ ...localStorage })")
    return stored


def is_closed(client: Client) -> bool:
    try:
        _ = client.page
    except BrowserClosed:
        return client.browser_pid is None
    return False


# The guide's example --------------------------------------------------------------------------------------------------


@both_addresses
async def test_the_session_logs_in_from_a_fresh_profile(
    make_client: Callable[..., Recorded], simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "wwauth")
    first = make_client(auth_strategy=LegacySessionAuth())
    session = await link(first, simulator)
    assert sorted(session) == KEYS
    assert all(session.values())
    assert first.names[:1] == ["qr"]
    assert first.names[-2:] == ["authenticated", "ready"]
    await first.client.destroy()
    second = make_client(auth_strategy=LegacySessionAuth(session=session))
    assert await restored(second) == session
    assert await local_storage(second.client) == {**session, "remember-me": "true"}
    assert second.client.info is not None
    assert second.client.info.wid == "15551234567@c.us"
    page = await the_page(simulator, stage="ready")
    assert (page["diagnosis"], page["problems"], page["device"]) == ("ok", [], "15551234567:1")
    assert not any(value in caplog.text for value in session.values())


@soak
async def test_two_logins_side_by_side(make_client: Callable[..., Recorded], simulator: Simulator) -> None:
    first, second = (make_client(auth_strategy=LegacySessionAuth()) for _ in range(2))
    sessions = await asyncio.gather(link(first, simulator), link(second, simulator))
    assert not set(sessions[0].values()) & set(sessions[1].values())
    await asyncio.gather(first.client.destroy(), second.client.destroy())
    again = [make_client(auth_strategy=LegacySessionAuth(session=session)) for session in sessions]
    assert await asyncio.gather(*map(restored, again)) == list(sessions)
    assert [page["diagnosis"] for page in simulator.pages] == ["ok", "ok"]
    assert len({page["device"] for page in simulator.pages}) == 2


async def test_the_same_client_starts_again_with_the_session_it_was_given(
    make_client: Callable[..., Recorded], simulator: Simulator
) -> None:
    it = make_client(auth_strategy=LegacySessionAuth())
    session = await link(it, simulator)
    await it.client.destroy()
    it.events.clear()
    assert await restored(it) == session
    await it.client.logout()
    assert it.names[-1] == "disconnected"
    it.events.clear()
    await it.client.initialize()
    assert it.client.qr or await it.client.wait_for("qr", timeout=20)
    assert it.names == ["qr"]


# Only the first navigation --------------------------------------------------------------------------------------------


@both_addresses
async def test_later_navigations_inject_nothing(make_client: Callable[..., Recorded], simulator: Simulator) -> None:
    first = make_client(auth_strategy=LegacySessionAuth())
    session = await link(first, simulator)
    await first.client.destroy()
    it = make_client(auth_strategy=LegacySessionAuth(session=session))
    await restored(it)
    # What is changed below is no login any more: a page that asked for one would be refused, and the client end with it.
    simulator.configure(open_delay=3600)
    page = it.client.page
    for referer in (None, "", REFERER):
        await page.evaluate("localStorage.setItem('WAToken2', 'newer'); localStorage.setItem('kept', 'yes')")
        if referer is None:
            await page.reload()  # its referrer is still that of the first navigation
        else:
            await page.goto(it.client.options.web_url, referer=referer)
        stored = await local_storage(it.client)
        assert (stored["WAToken2"], stored["kept"]) == ("newer", "yes")


@soak
async def test_frames_and_other_tabs_inject_nothing(make_client: Callable[..., Recorded], simulator: Simulator) -> None:
    first = make_client(auth_strategy=LegacySessionAuth())
    session = await link(first, simulator)
    await first.client.destroy()
    it = make_client(auth_strategy=LegacySessionAuth(session=session))
    await restored(it)
    # Without what says that the tab had its session.
    await it.client.page.evaluate("sessionStorage.clear(); localStorage.setItem('kept', 'yes')")
    await it.client.page.evaluate("document.body.append(document.createElement('iframe'))")
    frame = it.client.page.frames[-1]
    assert frame != it.client.page.main_frame
    await frame.goto(simulator.url + "config.json", referer=REFERER)
    assert await frame.evaluate("[document.referrer, localStorage.getItem('kept')]") == [REFERER, "yes"]
    tab = await it.client.context.new_page()
    await tab.goto(simulator.url + "config.json", referer=REFERER)
    assert (await local_storage(it.client))["kept"] == "yes"


@pytest.mark.parametrize("kind", most_in_soak(["restored", "linked"]))
async def test_a_page_in_place_of_a_crashed_one_goes_on_with_what_is_stored(
    make_client: Callable[..., Recorded], simulator: Simulator, kind: str
) -> None:
    it = make_client(auth_strategy=LegacySessionAuth())
    session = await link(it, simulator)
    if kind == "restored":
        await it.client.destroy()
        it = make_client(auth_strategy=LegacySessionAuth(session=session))
        await restored(it)
    before = it.client.page
    await before.evaluate("localStorage.setItem('kept', 'yes')")
    logins = simulator.devices["15551234567:1"]["logins"]
    devtools = await it.client.context.new_cdp_session(before)
    crash = asyncio.ensure_future(devtools.send("Page.crash"))
    await simulator.wait_for(lambda: simulator.devices["15551234567:1"]["logins"] > logins)
    await asyncio.gather(crash, return_exceptions=True)  # the page could not answer it any more
    assert it.client.page is not before
    assert (await local_storage(it.client))["kept"] == "yes"
    assert it.names.count("ready") == 1


async def test_another_site_gets_no_session(make_client: Callable[..., Recorded], simulator: Simulator) -> None:
    async with redirecting_to(simulator.url) as address:
        it = make_client(web_url=address, auth_strategy=LegacySessionAuth(session=WRONG))
        seen: list[Any] = []
        it.client.on("auth_failure", lambda: seen.extend(page["diagnosis"] for page in simulator.pages))
        await it.client.initialize()
    # With the session there, it would have been "rejected".
    assert seen == ["fresh"]


@asynccontextmanager
async def redirecting_to(address: str) -> AsyncIterator[str]:
    """Serve a site that sends everybody to another one."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = ("HTTP/1.1 302 Found", f"Location: {address}", "Content-Length: 0", "Connection: close", "", "")
        writer.write("\r\n".join(head).encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


# A session that is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", most_in_soak(["outdated", "wrong"]))
async def test_a_refused_session_ends_in_auth_failure(
    make_client: Callable[..., Recorded], simulator: Simulator, kind: str
) -> None:
    session = WRONG
    if kind == "outdated":
        first = make_client(auth_strategy=LegacySessionAuth())
        session = await link(first, simulator)
        await first.client.destroy()
        await simulator.phone.unlink()

    class Looking(LegacySessionAuth):
        async def on_authentication_needed(self) -> AuthenticationNeeded:
            answer = await super().on_authentication_needed()
            if answer.failed:
                await the_page(simulator, diagnosis="rejected", state="UNPAIRED")
            return answer

    it = make_client(auth_strategy=Looking(session=session))
    seen: list[Any] = []
    it.client.on("auth_failure", lambda: seen.extend(page["diagnosis"] for page in simulator.pages))
    await it.client.initialize()
    assert is_closed(it.client)
    assert it.names == ["auth_failure"]
    reason = it.events[0][1]
    assert "link the device anew" in reason
    assert not any(value in reason for value in session.values())
    assert seen == ["rejected"]
    # It was dropped: what follows is a code.
    it.events.clear()
    await it.client.initialize()
    assert it.client.qr or await it.client.wait_for("qr", timeout=20)
    assert it.names == ["qr"]


async def test_restart_on_auth_fail_leads_to_a_code(make_client: Callable[..., Recorded], simulator: Simulator) -> None:
    it = make_client(auth_strategy=LegacySessionAuth(session=WRONG, restart_on_auth_fail=True))
    session = await link(it, simulator)
    assert sorted(session) == KEYS
    assert session != WRONG
    assert [name for name in it.names if name != "loading_screen"] == ["auth_failure", "qr", "authenticated", "ready"]


@soak
async def test_a_device_unlinked_while_it_is_online(make_client: Callable[..., Recorded], simulator: Simulator) -> None:
    it = make_client(auth_strategy=LegacySessionAuth(), relaunch_on_logout=True)
    await link(it, simulator)
    it.events.clear()
    again = asyncio.ensure_future(it.client.wait_for("qr", timeout=90))
    await asyncio.sleep(0)
    await simulator.phone.unlink()
    assert await again
    assert it.names[-2:] == ["disconnected", "qr"]
    assert it.events[-2] == ("disconnected", "LOGOUT")


# Accounts that it cannot keep -----------------------------------------------------------------------------------------

# As on builds of the real page, which have no such module any more.
NO_MODULE = """
  let real;
  Object.defineProperty(window, 'require', {
    configurable: true,
    get: () => real,
    set: (found) => {
      real = (name) => {
        if (name === 'WAWebMDBackend') throw new Error('unknown');
        return found(name);
      };
    },
  });
"""

NO_TOKEN = """
  const setItem = Storage.prototype.setItem;
  Storage.prototype.setItem = function (name, value) {
    if (name !== 'WAToken2') setItem.call(this, name, value);
  };
"""


@pytest.mark.parametrize(
    ("legacy", "script", "said"),
    most_in_soak(
        [
            (False, None, "LegacySessionAuth cannot keep the login of a multi-device account: use LocalAuth or RemoteAuth"),
            (False, NO_MODULE, "the page has no WABrowserId, WASecretBundle, WAToken1, WAToken2 in localStorage"),
            (True, NO_TOKEN, "the page has no WAToken2 in localStorage"),
        ]
    ),
    ids=["multi-device", "today", "incomplete"],
)
async def test_a_login_that_cannot_be_kept_is_refused(
    make_client: Callable[..., Recorded], simulator: Simulator, legacy: bool, script: str | None, said: str
) -> None:
    simulator.configure(legacy=legacy)
    it = make_client(auth_strategy=LegacySessionAuth(), eval_on_new_doc=script)
    await it.client.initialize()
    waiting = asyncio.ensure_future(it.client.wait_for("ready", timeout=30))
    await simulator.phone.scan(it.client.qr or await it.client.wait_for("qr", timeout=20))
    with pytest.raises(AuthenticationFailed) as caught:
        await waiting
    assert said in str(caught.value)
    assert is_closed(it.client)
    assert [name for name in it.names if name != "loading_screen"] == ["qr", "error", "disconnected"]
    assert it.events[-1] == ("disconnected", "STRATEGY_FAILED")


@soak
async def test_a_page_that_is_elsewhere_for_a_moment_is_asked_again(
    make_client: Callable[..., Recorded], simulator: Simulator
) -> None:
    class Elsewhere(LegacySessionAuth):
        async def get_auth_event_payload(self) -> dict[str, str]:
            page = self.client.page
            await page.goto("about:blank")  # which has no localStorage
            reading = asyncio.ensure_future(super().get_auth_event_payload())
            await asyncio.sleep(0)
            await page.goto(simulator.url)
            return await reading

    assert sorted(await link(make_client(auth_strategy=Elsewhere()), simulator)) == KEYS


# The simulator's side -------------------------------------------------------------------------------------------------


async def test_a_legacy_device_outlives_the_simulator(
    tmp_path: Path, make_client: Callable[..., Recorded], simulator: Simulator
) -> None:
    del simulator
    state = tmp_path / "state.json"
    async with Simulator(state_file=state, sync_delay=0.1, legacy=True) as before:
        first = make_client(web_url=before.url, auth_strategy=LegacySessionAuth())
        session = await link(first, before)
        await first.client.destroy()
    # The option is for those that are linked from now on.
    async with Simulator(state_file=state, sync_delay=0.1) as after:
        second = make_client(web_url=after.url, auth_strategy=LegacySessionAuth(session=session))
        assert await restored(second) == session
        if os.name == "posix":
            assert state.stat().st_mode & 0o777 == 0o600


async def test_what_is_missing_of_a_session_is_told(make_client: Callable[..., Recorded], simulator: Simulator) -> None:
    class Forgetful(LegacySessionAuth):
        async def after_browser_initialized(self) -> None:
            await super().after_browser_initialized()
            await self.client.page.add_init_script("localStorage.removeItem('WAToken1')")

        async def on_authentication_needed(self) -> AuthenticationNeeded:
            self.seen = [(page["diagnosis"], page["problems"]) for page in simulator.pages]
            return await super().on_authentication_needed()

    strategy = Forgetful(session=WRONG)
    await make_client(auth_strategy=strategy).client.initialize()
    assert strategy.seen == [("torn", ["localStorage: WAToken1 is missing"])]


async def test_the_messages_of_a_legacy_device(make_client: Callable[..., Recorded], simulator: Simulator) -> None:
    it = make_client(auth_strategy=LegacySessionAuth())
    await link(it, simulator)
    assert await simulator.phone.send_messages(30) == 30
    (page,) = await simulator.check()
    assert (page["messages"], page["damaged"], page["problems"]) == (40 + 30, 0, [])
    await simulator.phone.conflict()
    with pytest.raises(SessionClosed):
        await it.client.wait_for("auth_failure", timeout=20)
    assert it.events[-1] == ("disconnected", "CONFLICT")
