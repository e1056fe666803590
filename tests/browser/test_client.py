"""The life of a Client on real Chromium, against the simulator."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import sys
import tempfile
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from wwauth import AuthenticationNeeded, AuthStrategy, Client, LocalAuth
from wwauth._processes import is_running
from wwauth.errors import (
    AuthTimeout,
    BrowserClosed,
    BrowserNotFound,
    ConfigurationError,
    PairingRefused,
    SessionClosed,
    SessionInUse,
    StrategyError,
)
from wwauth.web.processes import kill_tree, profile_owner

from ..soaking import most_in_soak
from .simulated import both_addresses, by_turns, family, suspend, the_document

if TYPE_CHECKING:
    from collections.abc import Callable

    from wwauth.testing import Simulator

    from .conftest import Recorded

pytestmark = pytest.mark.browser


async def test_a_scan_leads_to_ready(make_client: Callable[..., Recorded], simulator: Simulator) -> None:
    it = make_client()
    await it.link(simulator)
    assert it.names == ["qr", "loading_screen", "authenticated", "ready"]
    assert it.client.qr is None
    assert it.client.info is not None
    assert it.client.info.wid.endswith("@c.us")
    assert it.client.info.pushname
    assert await it.client.get_state() == "CONNECTED"
    assert await it.client.wait_for("ready") is None  # at once
    assert await it.client.wait_for("authenticated") is None
    assert [page["diagnosis"] for page in simulator.state()["pages"]] == ["ok"]


async def test_local_auth_needs_no_second_scan(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    first = make_client(auth_strategy=LocalAuth(client_id="one", data_path=tmp_path / "auth"))
    await first.link(simulator)
    await first.client.destroy()
    profile = tmp_path / "auth" / "session-one"
    assert profile.is_dir()
    if os.name == "posix":
        assert profile.stat().st_mode & 0o777 == 0o700
    second = make_client(auth_strategy=LocalAuth(client_id="one", data_path=tmp_path / "auth"))
    await second.client.initialize()
    await second.client.wait_for("ready", timeout=60)
    assert "qr" not in second.names
    assert second.names[-2:] == ["authenticated", "ready"]


async def test_the_same_client_starts_again(make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path) -> None:
    it = make_client(auth_strategy=LocalAuth(data_path=tmp_path))
    await it.link(simulator)
    await it.client.destroy()
    await it.client.destroy()
    with pytest.raises(SessionClosed):
        await it.client.wait_for("ready", timeout=5)
    it.events.clear()
    await it.client.initialize()
    with pytest.raises(ConfigurationError, match="initialized already"):
        await it.client.initialize()
    await it.client.wait_for("ready", timeout=60)
    assert "qr" not in it.names


@both_addresses
async def test_a_code_follows_each_refresh_until_the_retries_end(
    make_client: Callable[..., Recorded], simulator: Simulator
) -> None:
    simulator.configure(qr_refresh=0.3)
    it = make_client(qr_max_retries=2)
    ended = asyncio.ensure_future(it.client.wait_for("disconnected", timeout=60))
    await it.client.initialize()
    assert await ended == "Max qrcode retries reached"
    assert it.names == ["qr", "qr", "qr", "disconnected"]
    assert len({event[1] for event in it.events if event[0] == "qr"}) == 3
    with pytest.raises(BrowserClosed):
        _ = it.client.page


@both_addresses
async def test_codes_go_on_after_the_page_has_given_up(make_client: Callable[..., Recorded], simulator: Simulator) -> None:
    simulator.configure(qr_refresh=60, qr_refs=2)
    it = make_client()
    await it.client.initialize()
    qr = it.client.qr or await it.client.wait_for("qr", timeout=60)
    for _ in range(5):
        following = asyncio.ensure_future(it.client.wait_for("qr", timeout=60))
        await simulator.phone.rotate_qr()  # each second time there is none left
        qr = await following
    assert it.names == ["qr"] * 6
    await simulator.phone.scan(qr)
    await it.client.wait_for("ready", timeout=60)


@both_addresses
async def test_a_pairing_code_links_the_device(make_client: Callable[..., Recorded], simulator: Simulator) -> None:
    it = make_client(pair_with_phone_number={"phone_number": "15551234567"})
    await it.client.initialize()
    code = await it.client.wait_for("code", timeout=60) if "code" not in it.names else it.events[0][1]
    assert len(code) == 8
    await simulator.phone.enter_code(code)
    await it.client.wait_for("ready", timeout=60)
    assert it.names == ["code", "loading_screen", "authenticated", "ready"]


# What the page tells by itself comes after its answers, as it may on a busy machine.
_LATE = """
const tell = window.__wwauth;
if (tell) window.__wwauth = (...args) => new Promise((resolve) => setTimeout(resolve, 200)).then(() => tell(...args));
"""


@both_addresses
async def test_from_qr_to_pairing_code_and_back(make_client: Callable[..., Recorded], simulator: Simulator) -> None:
    it = make_client(eval_on_new_doc=_LATE)
    await it.client.initialize()
    await it.client.wait_for("qr", timeout=60) if it.client.qr is None else None
    for number in ("+1555", "12 34", "", 5):
        with pytest.raises(ValueError, match="phone_number"):
            await it.client.request_pairing_code(number)  # type: ignore[arg-type]
    first = await it.client.request_pairing_code("15551234567", interval_ms=500)
    assert it.client.qr is None
    second = await it.client.wait_for("code", timeout=60)
    assert first != second
    waiting = asyncio.create_task(it.client.wait_for("qr", timeout=60))
    await asyncio.sleep(0)
    await it.client.cancel_pairing_code()
    await simulator.phone.scan(await waiting)
    await it.client.wait_for("ready", timeout=60)


@both_addresses
async def test_the_pages_refusal_of_a_pairing_code_is_typed(make_client: Callable[..., Recorded], simulator: Simulator) -> None:
    it = make_client()
    with pytest.raises(BrowserClosed, match="initialize"):
        await it.client.request_pairing_code("15551234567")
    await it.link(simulator)
    with pytest.raises(PairingRefused):
        await it.client.request_pairing_code("15551234567")


@both_addresses
async def test_logout_unlinks_and_deletes(make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path) -> None:
    it = make_client(auth_strategy=LocalAuth(data_path=tmp_path))
    await it.link(simulator)
    await it.client.logout()
    assert it.names[-1] == "disconnected"
    assert it.events[-1] == ("disconnected", "LOGOUT")
    assert it.names.count("disconnected") == 1
    assert not (tmp_path / "session").exists()
    assert simulator.state()["devices"] == {}
    await it.client.logout()


@both_addresses
async def test_unlinked_from_the_phone(make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path) -> None:
    it = make_client(auth_strategy=LocalAuth(data_path=tmp_path))
    await it.link(simulator)
    await simulator.phone.unlink()
    assert await it.client.wait_for("disconnected", timeout=60) == "LOGOUT"
    assert not (tmp_path / "session").exists()
    assert it.names.count("disconnected") == 1


@both_addresses
async def test_unlinked_while_away(make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path) -> None:
    it = make_client(auth_strategy=LocalAuth(data_path=tmp_path))
    await it.link(simulator)
    await it.client.destroy()
    await simulator.phone.unlink()
    it.events.clear()
    try:
        await it.client.initialize()
        await it.client.wait_for("disconnected", timeout=60)
    except SessionClosed:
        pass  # it was over before we could wait for it
    assert it.events[-1] == ("disconnected", "LOGOUT")
    assert not (tmp_path / "session").exists()


@by_turns("state", ["CONFLICT", "PROXYBLOCK"], usual=1)
async def test_a_lost_connection_deletes_nothing(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path, state: str
) -> None:
    it = make_client(auth_strategy=LocalAuth(data_path=tmp_path))
    await it.link(simulator)
    if state == "CONFLICT":
        await simulator.phone.conflict()
    else:
        await simulator.phone.push_state(state)
    assert await it.client.wait_for("disconnected", timeout=60) == state
    assert it.events[-2:] == [("change_state", state), ("disconnected", state)]
    assert (tmp_path / "session" / "Default").is_dir()
    it.events.clear()
    await it.client.initialize()
    await it.client.wait_for("ready", timeout=60)
    assert "qr" not in it.names


@both_addresses
async def test_takeover(make_client: Callable[..., Recorded], simulator: Simulator) -> None:
    it = make_client(takeover_on_conflict=True, takeover_timeout_ms=100)
    await it.link(simulator)
    it.events.clear()
    await simulator.phone.conflict()
    await it.client.wait_for("change_state", timeout=60, predicate=lambda state: state == "CONNECTED")
    assert it.events[0] == ("change_state", "CONFLICT")
    assert "disconnected" not in it.names


@both_addresses
async def test_a_lost_network_is_no_end(make_client: Callable[..., Recorded], simulator: Simulator) -> None:
    it = make_client()
    await it.link(simulator)
    it.events.clear()
    back = asyncio.ensure_future(it.client.wait_for("change_state", predicate=lambda state: state == "CONNECTED", timeout=60))
    await simulator.phone.drop(0.5)
    await back
    assert ("change_state", "TIMEOUT") in it.events
    assert set(it.names) == {"change_state"}


@both_addresses
async def test_a_reload_brings_no_second_ready(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    it = make_client(auth_strategy=LocalAuth(data_path=tmp_path))
    await it.link(simulator)
    it.events.clear()
    await it.client.page.reload()
    await the_document(simulator, it.client.page, diagnosis="ok", stage="ready")
    lost = asyncio.ensure_future(it.client.wait_for("change_state", predicate=lambda state: state == "TIMEOUT", timeout=60))
    await simulator.phone.drop(60)
    await lost
    back = asyncio.ensure_future(it.client.wait_for("change_state", predicate=lambda state: state == "CONNECTED", timeout=60))
    await simulator.phone.drop(0)
    await back
    assert set(it.names) <= {"change_state", "loading_screen"}
    # Each change is told once, though the script has been installed in two documents.
    states = [event[1] for event in it.events if event[0] == "change_state"]
    assert states.count("TIMEOUT") == 1
    assert all(state != after for state, after in pairwise(states))


@both_addresses
async def test_a_killed_browser_is_told_once(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    it = make_client(auth_strategy=LocalAuth(data_path=tmp_path))
    await it.link(simulator)
    launch = it.client._launch
    assert launch is not None
    assert launch.browser.pid is not None
    kill_tree(launch.browser.pid)
    assert await it.client.wait_for("disconnected", timeout=60) == "BROWSER_CLOSED"
    assert it.names.count("disconnected") == 1


async def test_a_killed_driver_takes_the_browser_along_and_that_is_told(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    it = make_client(auth_strategy=LocalAuth(data_path=tmp_path))
    await it.link(simulator)
    browser = psutil.Process(it.client.browser_pid)
    driver = browser.parent()
    assert driver is not None
    driver.kill()
    assert await it.client.wait_for("disconnected", timeout=60) == "BROWSER_CLOSED"
    await it.client.initialize()
    await it.client.wait_for("ready", timeout=60)


@pytest.mark.skipif(sys.platform == "win32", reason="no signal freezes a process on Windows")
async def test_a_frozen_browser_is_killed_and_leaves_nothing(
    make_client: Callable[..., Recorded], simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = make_client()
    await it.link(simulator)
    before = {path.name for path in Path(tempfile.gettempdir()).iterdir()}
    pid = it.client.browser_pid
    assert pid is not None
    suspend(family(pid))
    monkeypatch.setattr("wwauth.web.launched.CLOSE_TIMEOUT", 0.5)  # nobody answers
    await it.client.destroy()
    assert not is_running(pid)
    left = {path.name for path in Path(tempfile.gettempdir()).iterdir()}
    assert left < before  # the profile and the browser's socket have gone


@pytest.mark.skipif(sys.platform == "win32", reason="no signal freezes a process on Windows")
async def test_a_browser_that_freezes_while_it_starts_is_killed(
    make_client: Callable[..., Recorded], tmp_path: Path, skip_time: Callable[[float], None]
) -> None:
    it = make_client(auth_strategy=LocalAuth(data_path=tmp_path))
    starting = asyncio.create_task(it.client.initialize())
    while (owner := profile_owner(tmp_path / "session")) is None:  # noqa: ASYNC110 - Chromium tells nobody
        await asyncio.sleep(0.001)
    browser = psutil.Process(owner[1])
    browser.suspend()
    ending = asyncio.create_task(it.client.destroy())
    await asyncio.sleep(0.1)  # by then it waits for the browser
    skip_time(5)
    await ending
    with pytest.raises(SessionClosed):
        await starting
    assert not is_running(browser.pid)


async def test_two_clients_on_one_profile(make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path) -> None:
    first = make_client(auth_strategy=LocalAuth(data_path=tmp_path))
    second = make_client(auth_strategy=LocalAuth(data_path=tmp_path))
    await first.client.initialize()
    with pytest.raises(SessionInUse, match=str(os.getpid())) as caught:
        await second.client.initialize()
    assert caught.value.pid == os.getpid()
    await first.client.destroy()
    await second.link(simulator)


async def test_the_lock_of_a_dead_browser_does_not_block(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    it = make_client(auth_strategy=LocalAuth(data_path=tmp_path))
    await it.link(simulator)
    await it.client.destroy()
    for owner in ("another-container-7", f"{socket.gethostname()}-4194303"):
        (tmp_path / "session" / "SingletonLock").symlink_to(owner)
        await it.client.initialize()
        await it.client.wait_for("ready", timeout=60)
        await it.client.destroy()
    assert "error" not in it.names


async def test_a_browser_that_is_not_ours_keeps_its_profile(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    it = make_client(auth_strategy=LocalAuth(data_path=tmp_path))
    await it.link(simulator)
    lock = tmp_path / "session" / "SingletonLock"
    owner = lock.readlink()
    # Seen through another container's eyes: the host is foreign, but the kernel's locks are there.
    lock.unlink()
    lock.symlink_to("another-container-7")
    other = LocalAuth(data_path=tmp_path)
    (tmp_path / ".session.lock").unlink()
    second = make_client(auth_strategy=other)
    with pytest.raises(SessionInUse, match="another-container"):
        await second.client.initialize()
    lock.unlink()
    lock.symlink_to(owner)


async def test_no_answer_from_the_address_names_the_phase(
    make_client: Callable[..., Recorded], skip_time: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/?token=secret"
        it = make_client(web_url=url, auth_timeout_ms=60_000)
        starting = asyncio.create_task(it.client.initialize())
        while "trying again" not in caplog.text:
            assert not starting.done()
            await asyncio.sleep(0.02)
        skip_time(60)
        with pytest.raises(AuthTimeout) as caught:
            await starting
    assert caught.value.phase == "opening the page"
    assert "secret" not in str(caught.value)


async def test_another_page_names_the_phase(
    make_client: Callable[..., Recorded], simulator: Simulator, skip_time: Callable[[float], None]
) -> None:
    it = make_client(web_url=simulator.url + "control/state", auth_timeout_ms=60_000)
    starting = asyncio.create_task(it.client.initialize())
    await it.opens(simulator.url + "control/state")
    skip_time(60)
    with pytest.raises(AuthTimeout) as caught:
        await starting
    assert caught.value.phase == "the page's first sign of life"
    assert caught.value.url == simulator.url + "control/state"
    assert it.events == []


async def test_wait_for_is_bounded(make_client: Callable[..., Recorded]) -> None:
    it = make_client()
    await it.client.initialize()
    with pytest.raises(AuthTimeout, match="'ready'") as caught:
        await it.client.wait_for("ready", timeout=0.2)
    assert caught.value.last_state == "UNPAIRED"
    waiting = asyncio.create_task(it.client.wait_for("ready"))
    await asyncio.sleep(0)
    await it.client.destroy()
    with pytest.raises(SessionClosed):
        await waiting


@pytest.mark.parametrize(
    ("how", "delay"),
    most_in_soak(itertools.product(["cancel", "destroy"], [0.05, 0.4, 1.0, 1.6]), usual=[("cancel", 1.0), ("destroy", 0.4)]),
)
async def test_interrupted_at_any_moment_nothing_is_left(
    make_client: Callable[..., Recorded], tmp_path: Path, delay: float, how: str
) -> None:
    it = make_client(auth_strategy=LocalAuth(data_path=tmp_path))
    starting = asyncio.create_task(it.client.initialize())
    await asyncio.sleep(delay)
    if how == "cancel":
        starting.cancel()
    else:
        await it.client.destroy()
    # On a quick machine the late ones find it started.
    (outcome,) = await asyncio.gather(starting, return_exceptions=True)
    expected = asyncio.CancelledError if how == "cancel" else SessionClosed
    assert isinstance(outcome, expected) or (outcome is None and delay >= 1)
    await it.client.destroy()
    await make_client(auth_strategy=LocalAuth(data_path=tmp_path)).client.initialize()  # the lock is free


async def test_a_throw_away_profile_is_thrown_away(make_client: Callable[..., Recorded]) -> None:
    it = make_client()
    await it.client.initialize()
    launch = it.client._launch
    assert launch is not None
    folder, pid = launch.browser.user_data_dir, launch.browser.pid
    assert folder is not None
    assert pid is not None
    assert folder.parent == Path(tempfile.gettempdir())
    await it.client.destroy()
    assert not folder.exists()
    assert not is_running(pid)


async def test_a_browser_that_does_not_exist_is_named(make_client: Callable[..., Recorded]) -> None:
    it = make_client(launch_options={"executable_path": "/nowhere/chromium"})
    with pytest.raises(BrowserNotFound, match="/nowhere/chromium"):
        await it.client.initialize()


class Refused(AuthStrategy):
    """A strategy whose login the page does not take."""

    def __init__(self, *, restart: bool) -> None:
        self.restart = restart
        self.asked = 0

    async def on_authentication_needed(self) -> AuthenticationNeeded:
        self.asked += 1
        return AuthenticationNeeded(failed=self.asked == 1, restart=self.restart, failure_event_payload="no longer valid")


@pytest.mark.parametrize("restart", [True, False])
async def test_auth_failure(make_client: Callable[..., Recorded], *, restart: bool) -> None:
    it = make_client(auth_strategy=Refused(restart=restart))
    await it.client.initialize()
    assert it.events[0] == ("auth_failure", "no longer valid")
    if restart:
        assert await it.client.wait_for("qr", timeout=60) if it.client.qr is None else it.client.qr
    else:
        assert await it.client.get_state() is None
        assert it.names == ["auth_failure"]


class Unlinked(AuthStrategy):
    """A strategy whose device is unlinked while it is asked."""

    async def on_authentication_needed(self) -> AuthenticationNeeded:
        assert self.client._launch is not None
        self.client._launch.end("LOGOUT", logout=True)
        await asyncio.Event().wait()
        raise AssertionError


async def test_unlinked_while_it_is_initialized(make_client: Callable[..., Recorded]) -> None:
    it = make_client(auth_strategy=Unlinked())
    await it.client.initialize()
    assert it.events == [("disconnected", "LOGOUT")]
    with pytest.raises(SessionClosed) as caught:
        await it.client.wait_for("ready")
    assert caught.value.reason == "LOGOUT"


class Broken(AuthStrategy):
    def __init__(self, hook: str) -> None:
        async def fail() -> None:
            raise RuntimeError(hook)

        setattr(self, hook, fail)


@pytest.mark.parametrize(
    "hook", most_in_soak(["on_authentication_needed", "before_browser_initialized", "after_browser_initialized"])
)
async def test_an_exception_in_a_hook_ends_initialize_with_the_browser_closed(
    make_client: Callable[..., Recorded], hook: str
) -> None:
    it = make_client(auth_strategy=Broken(hook))
    with pytest.raises(StrategyError, match=rf"Broken\.{hook}\(\) raised RuntimeError") as caught:
        await it.client.initialize()
    assert str(caught.value.__cause__) == hook
    assert await it.client.get_state() is None


@pytest.mark.parametrize("hook", most_in_soak(["after_auth_ready", "get_auth_event_payload"]))
async def test_an_exception_in_a_hook_after_the_login_ends_the_launch(
    make_client: Callable[..., Recorded], simulator: Simulator, hook: str
) -> None:
    it = make_client(auth_strategy=Broken(hook))
    await it.client.initialize()
    await simulator.phone.scan(it.client.qr or await it.client.wait_for("qr", timeout=60))
    assert await it.client.wait_for("disconnected", timeout=60) == "STRATEGY_FAILED"
    assert [str(event[1].__cause__) for event in it.events if event[0] == "error"] == [hook]
    assert await it.client.get_state() is None
    with pytest.raises(StrategyError):
        await it.client.wait_for("change_state", timeout=1)


@pytest.mark.parametrize("hook", most_in_soak(["logout", "destroy", "disconnect"]))
async def test_an_exception_in_a_hook_of_the_end_does_not_stop_it(
    make_client: Callable[..., Recorded], simulator: Simulator, hook: str
) -> None:
    it = make_client(auth_strategy=Broken(hook))
    await it.link(simulator)
    pid = it.client.browser_pid
    assert pid is not None
    if hook == "disconnect":
        await simulator.phone.push_state("TOS_BLOCK")
        assert await it.client.wait_for("disconnected", timeout=60) == "TOS_BLOCK"
    else:
        with pytest.raises(StrategyError):
            await getattr(it.client, hook)()
    assert not is_running(pid)
    assert [str(event[1].__cause__) for event in it.events if event[0] == "error"] == [hook]


class Reentrant(AuthStrategy):
    """Calls the client from within its own end."""

    async def disconnect(self) -> None:
        await self.client.destroy()
        with pytest.raises(ConfigurationError):
            await self.client.initialize()

    destroy = disconnect


async def test_a_hook_of_the_end_does_not_wait_for_itself(make_client: Callable[..., Recorded], simulator: Simulator) -> None:
    it = make_client(auth_strategy=Reentrant())
    await it.link(simulator)
    await simulator.phone.push_state("TOS_BLOCK")
    assert await it.client.wait_for("disconnected", timeout=60) == "TOS_BLOCK"
    assert "error" not in it.names


_SIGNALLED = """
import asyncio, sys
from wwauth import Client, LocalAuth

async def main():
    client = Client(web_url=sys.argv[1], auth_strategy=LocalAuth(data_path=sys.argv[2]),
                    launch_options={"chromium_sandbox": False})
    print("starting", flush=True)
    await client.initialize()
    print("initialized", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a process could answer")
@pytest.mark.parametrize(
    ("when", "number"),
    most_in_soak(
        itertools.product(["starting", "initialized"], [signal.SIGTERM, signal.SIGINT]),
        usual=[("starting", signal.SIGINT), ("initialized", signal.SIGTERM)],
    ),
)
async def test_a_signal_leaves_nothing_running(simulator: Simulator, tmp_path: Path, number: signal.Signals, when: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _SIGNALLED,
        simulator.url,
        str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    while (await process.stdout.readline()).decode().strip() != when:
        assert process.returncode is None
    if when == "starting":
        await asyncio.sleep(1.2)
    process.send_signal(number)
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == -number, errors.decode()
    # What is left of the browser is found by the guard that every test has.


_TOLD_TWICE = """
import asyncio, logging, sys
from wwauth import Client, _signals
from wwauth.web import launched

logging.basicConfig(level=logging.INFO)
_signals._DEADLINE = launched.CLOSE_TIMEOUT = 60  # the second word ends it, not the time

async def main():
    client = Client(web_url=sys.argv[1], launch_options={"chromium_sandbox": False})
    await client.initialize()
    print("initialized", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a process could answer")
async def test_told_a_second_time_the_profile_is_thrown_away_all_the_same(simulator: Simulator) -> None:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _TOLD_TWICE, simulator.url, stdout=pipe, stderr=pipe)
    assert process.stdout is not None
    assert process.stderr is not None
    assert await process.stdout.readline() == b"initialized\n"
    for child in family(process.pid)[1:]:
        with suppress(psutil.NoSuchProcess):
            if "node" not in child.name():
                child.suspend()  # the first signal takes a while
    process.send_signal(signal.SIGTERM)
    while b"closing 1 client" not in await asyncio.wait_for(process.stderr.readline(), 60):
        assert process.returncode is None
    process.send_signal(signal.SIGTERM)
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == -signal.SIGTERM, errors.decode()
    assert b"second time" in errors
    # What is left of the browser, and its throw-away profile, are found by the guard that every test has.


async def test_clients_may_be_many(make_client: Callable[..., Recorded], simulator: Simulator) -> None:
    clients = [make_client() for _ in range(2)]
    await asyncio.gather(*(it.link(simulator) for it in clients))
    assert len(simulator.state()["devices"]) == 2


def test_a_client_serves_one_event_loop_after_the_other(launch_options: dict[str, Any]) -> None:
    from wwauth.testing import Simulator

    simulator, made = Simulator(), list[Client]()

    async def once() -> str:
        async with simulator:  # at the same port each time
            if not made:
                made.append(Client(web_url=simulator.url, launch_options=launch_options))
            async with made[0] as client:
                qr = client.qr or await client.wait_for("qr", timeout=60)
                await simulator.wait_for(lambda: simulator.pages[0]["qr"] == qr)
                return qr

    assert asyncio.run(once()) != asyncio.run(once())
