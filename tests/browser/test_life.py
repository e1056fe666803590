"""What a login gets into after it works: unlinked, in conflict, blocked, cut off, crashed; and what is left of it then."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from wwauth import AuthStrategy, LocalAuth, RemoteAuth
from wwauth._processes import is_running
from wwauth.errors import AuthTimeout, BrowserClosed, SessionClosed, SessionCorrupted
from wwauth.stores import FileSystemStore
from wwauth.testing import Simulator
from wwauth.web.processes import kill_tree

from .simulated import by_turns, family, real_address, resume, suspend, the_page

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.async_api import Page

    from wwauth import Client

    from .conftest import Recorded

pytestmark = pytest.mark.browser


def remote(folder: Path, **options: Any) -> RemoteAuth:
    defaults = {"store": FileSystemStore(folder / "store"), "data_path": folder / "auth", "backup_sync_interval_ms": 600_000}
    return RemoteAuth(**{**defaults, **options})


def strategies(folder: Path) -> dict[str, AuthStrategy]:
    return {"local": LocalAuth(data_path=folder / "auth"), "remote": remote(folder)}


async def comes_back(client: Client, it: Recorded) -> None:
    """Start again, and be ready without a code."""
    it.events.clear()
    await client.initialize()
    await client.wait_for("ready", timeout=60)
    assert "qr" not in it.names


def crash(client: Client) -> None:
    """Kill the renderers of a client's browser."""
    for process in family(client.browser_pid):
        with contextlib.suppress(psutil.NoSuchProcess):  # one that was not in use
            if "--type=renderer" in process.cmdline():
                process.kill()


async def connected_anew(client: Client, page: Page) -> None:
    """Wait until another page has taken this one's place, and is connected."""
    async with asyncio.timeout(60):
        while client.page is page or await client.get_state() != "CONNECTED":  # noqa: ASYNC110 - the page is asked
            await asyncio.sleep(0.05)


# Logout ---------------------------------------------------------------------------------------------------------------


class Watching(LocalAuth):
    """Looks, when it is to delete the profile, whether the browser has ended."""

    pid = 0
    ended = False

    async def after_auth_ready(self) -> None:
        self.pid = self.client.browser_pid or 0

    async def logout(self) -> None:
        assert self.user_data_dir is not None
        self.ended = not is_running(self.pid) and self.user_data_dir.is_dir()
        await super().logout()


@real_address
async def test_the_browser_has_ended_before_anything_is_deleted(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    strategy = Watching(data_path=tmp_path)
    it = make_client(auth_strategy=strategy)
    await it.link(simulator)
    await simulator.phone.unlink()
    assert await it.client.wait_for("disconnected", timeout=60) == "LOGOUT"
    assert strategy.ended
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == []


@by_turns("kind", ["remote", "local"], usual=1)
async def test_after_an_unlinking_a_new_login_follows_and_is_kept(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path, kind: str
) -> None:
    it = make_client(auth_strategy=strategies(tmp_path)[kind], relaunch_on_logout=True)
    await it.link(simulator)
    first, pid = it.client.qr, it.client.browser_pid
    again = asyncio.ensure_future(it.client.wait_for("qr", timeout=60))
    await asyncio.sleep(0)
    it.events.clear()
    await simulator.phone.unlink()
    qr = await again
    assert qr != first
    assert it.client.browser_pid != pid
    assert it.events[-2:] == [("disconnected", "LOGOUT"), ("qr", qr)]
    await simulator.phone.scan(qr)
    await it.client.wait_for("ready", timeout=60)
    await it.client.destroy()
    await comes_back(it.client, it)


@real_address
async def test_a_late_backup_does_not_bring_back_what_a_logout_deleted(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    store = SlowStore(tmp_path / "store")
    it = make_client(auth_strategy=remote(tmp_path, store=store))
    await it.link(simulator)
    await store.saving.wait()
    ended = asyncio.ensure_future(it.client.wait_for("disconnected", timeout=60))
    await simulator.phone.unlink()
    await simulator.wait_for(lambda: not simulator.pages)
    assert not ended.done()
    store.goes_on.set()
    assert await ended == "LOGOUT"
    assert list((tmp_path / "store").iterdir()) == []
    assert not (tmp_path / "auth" / "RemoteAuth").exists()


class SlowStore(FileSystemStore):
    """Saves when it is told to go on."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.saving = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def save(self, **archive: Any) -> None:
        self.saving.set()
        await self.goes_on.wait()
        await super().save(**archive)


@real_address
async def test_unlinked_while_away_and_a_new_login_follows(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    it = make_client(auth_strategy=remote(tmp_path), relaunch_on_logout=True)
    await it.link(simulator)
    await it.client.destroy()
    await simulator.phone.unlink()
    it.events.clear()
    qr = asyncio.ensure_future(it.client.wait_for("qr", timeout=60))
    await it.client.initialize()
    await qr
    assert it.names[-2:] == ["disconnected", "qr"]
    assert ("disconnected", "LOGOUT") in it.events
    assert not list((tmp_path / "store").glob("*.zip"))


@by_turns("end", ["destroy", "conflict"], usual=1)
async def test_a_logout_that_meets_another_end_deletes_all_the_same(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    it = make_client(auth_strategy=remote(tmp_path))
    await it.link(simulator)
    await it.backed_up()
    it.events.clear()
    if end == "destroy":
        await asyncio.gather(it.client.destroy(), it.client.logout())
    else:
        await simulator.phone.conflict()
        await it.client.wait_for("change_state", timeout=60, predicate=lambda state: state == "CONFLICT")
        await it.client.logout()
    assert it.names.count("disconnected") == 1
    assert it.events[-1] == ("disconnected", "LOGOUT")
    assert "remove it in the phone's list of linked devices" in caplog.text
    assert not (tmp_path / "auth" / "RemoteAuth").exists()
    assert list((tmp_path / "store").iterdir()) == []


@real_address
async def test_destroy_ends_a_relaunch(make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path) -> None:
    it = make_client(auth_strategy=LocalAuth(data_path=tmp_path), relaunch_on_logout=True)
    await it.link(simulator)
    gone = asyncio.ensure_future(it.client.wait_for("disconnected", timeout=60))
    await asyncio.sleep(0)
    await simulator.phone.unlink()
    await gone
    await it.client.destroy()
    assert it.client.browser_pid is None
    with pytest.raises(SessionClosed):
        await it.client.wait_for("qr", timeout=5)


@by_turns("stays", [True, False], usual=1)
async def test_unpaired_for_a_moment_is_no_logout(
    make_client: Callable[..., Recorded],
    simulator: Simulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    skip_time: Callable[[float], None],
    *,
    stays: bool,
) -> None:
    monkeypatch.setattr("wwauth._login._UNPAIRED_DEBOUNCE", 60.0)
    it = make_client(auth_strategy=remote(tmp_path))
    await it.link(simulator)
    await it.backed_up()
    it.events.clear()
    await simulator.phone.push_state("UNPAIRED")
    await it.client.wait_for("change_state", timeout=60, predicate=lambda state: state == "UNPAIRED")
    await asyncio.sleep(0)  # by then the second look waits for its time
    if stays:
        skip_time(60)
        assert await it.client.wait_for("disconnected", timeout=60) == "UNPAIRED"
    else:
        back = asyncio.ensure_future(it.client.wait_for("change_state", timeout=60))
        await simulator.phone.push_state("CONNECTED")
        assert await back == "CONNECTED"
        skip_time(60)
        launch = it.client._launch
        assert launch is not None
        while launch.login._unpaired_look is not None:  # noqa: ASYNC110 - it tells nobody that all is well
            await asyncio.sleep(0.02)
        assert it.names == ["change_state", "change_state"]
        await it.client.destroy()
    assert (tmp_path / "auth" / "RemoteAuth" / "Default").is_dir()
    assert (tmp_path / "store" / "RemoteAuth.zip").is_file()
    await comes_back(it.client, it)


@by_turns("kind", ["remote", "local"], usual=1)
async def test_logout_of_a_dead_page_deletes_all_the_same_and_says_what_is_left_to_do(
    make_client: Callable[..., Recorded],
    simulator: Simulator,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wwauth._login._LOGOUT_NAVIGATION", 0.3)
    it = make_client(auth_strategy=strategies(tmp_path)[kind])
    await it.link(simulator)
    suspend(family(it.client.browser_pid)[1:])
    monkeypatch.setattr("wwauth.web.launched.CLOSE_TIMEOUT", 0.5)  # nobody answers
    await it.client.logout()
    await it.client.logout()
    assert "remove it in the phone's list of linked devices" in caplog.text
    assert it.events[-1] == ("disconnected", "LOGOUT")
    assert it.names.count("disconnected") == 1
    assert [path.name for path in (tmp_path / "auth").iterdir() if not path.name.startswith(".")] == []
    assert not list((tmp_path / "store").glob("*"))


# Conflict and other states --------------------------------------------------------------------------------------------


@by_turns("state", ["TOS_BLOCK", "SMB_TOS_BLOCK", "PROXYBLOCK", "DEPRECATED_VERSION", "UNLAUNCHED"], usual=1)
async def test_a_state_that_ends_the_connection_is_backed_up_and_deletes_nothing(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path, state: str
) -> None:
    it = make_client(auth_strategy=remote(tmp_path))
    await it.link(simulator)
    await it.backed_up()
    await simulator.phone.send_messages(3)
    reports: list[Any] = []
    it.client.on("backup_saved", reports.append)
    await simulator.phone.push_state(state)
    assert await it.client.wait_for("disconnected", timeout=60) == state
    assert [report.kind for report in reports] == ["incremental"]
    assert it.names.count("disconnected") == 1
    shutil.rmtree(tmp_path / "auth")
    await comes_back(it.client, it)


@real_address
async def test_two_clients_that_take_over_do_not_fight_for_ever(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    first = make_client(auth_strategy=LocalAuth(data_path=tmp_path / "a"), takeover_on_conflict=True, takeover_timeout_ms=50)
    await first.link(simulator)
    await first.client.destroy()
    shutil.copytree(tmp_path / "a" / "session", tmp_path / "b" / "session", symlinks=True)
    second = make_client(auth_strategy=LocalAuth(data_path=tmp_path / "b"), takeover_on_conflict=True, takeover_timeout_ms=50)
    await comes_back(first.client, first)
    await second.client.initialize()
    ends = [asyncio.ensure_future(it.client.wait_for("disconnected", timeout=60)) for it in (first, second)]
    done, pending = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    assert [end.result() for end in done] == ["CONFLICT"]
    winner = second if ends[0] in done else first
    await the_page(simulator, state="CONNECTED")
    assert await winner.client.get_state() == "CONNECTED"
    assert all((tmp_path / name / "session" / "Default").is_dir() for name in "ab")
    for end in pending:
        end.cancel()


# Pairing codes --------------------------------------------------------------------------------------------------------


@real_address
async def test_a_pairing_code_survives_a_reload_and_a_crash_of_the_page(
    make_client: Callable[..., Recorded], simulator: Simulator
) -> None:
    it = make_client()
    await it.client.initialize()
    first = await it.client.request_pairing_code("15551234567")
    renewed = asyncio.ensure_future(it.client.wait_for("code", timeout=60))
    await it.client.page.reload()
    second = await renewed
    renewed = asyncio.ensure_future(it.client.wait_for("code", timeout=60))
    await asyncio.sleep(0)
    crash(it.client)
    third = await renewed
    assert len({first, second, third}) == 3
    await simulator.phone.enter_code(third)
    await it.client.wait_for("ready", timeout=60)
    assert "error" not in it.names


# Ghosts ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wwauth._check._RECONNECTED", 1.0)
    monkeypatch.setattr("wwauth._check._RELOADED", 1.0)


@pytest.mark.usefixtures("impatient")
@by_turns(
    "ghost",
    [
        ({}, "connecting anew"),
        ({"gone": True}, "connecting anew"),
        ({"connections": 100}, "loading the page anew"),
        ({"connections": 100}, "starting the browser anew"),
    ],
)
async def test_a_ghost_connection_is_found_and_repaired(
    make_client: Callable[..., Recorded],
    simulator: Simulator,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    ghost: tuple[dict[str, Any], str],
) -> None:
    how, repair = ghost
    # The step that helps gets the time that it needs, the ones before it little.
    if repair == "connecting anew":
        monkeypatch.setattr("wwauth._check._RECONNECTED", 60.0)
    elif repair == "loading the page anew":
        monkeypatch.setattr("wwauth._check._RELOADED", 60.0)
    it = make_client(auth_strategy=LocalAuth(data_path=tmp_path))
    await it.link(simulator)
    assert await it.client.check()
    assert not caplog.records
    it.events.clear()
    await simulator.phone.ghost(**how)
    if "connections" not in how:
        monkeypatch.setattr("wwauth._check._ANSWER", 1.0)  # a ghost never answers; else the server is asked something, too

    async def answers_again() -> None:
        """Let the server answer on new connections, when the step that is to help begins."""
        while repair not in caplog.text:  # noqa: ASYNC110 - a log tells nobody
            await asyncio.sleep(0.01)
        simulator.hub.silent_connections = 0

    answering = asyncio.create_task(answers_again())
    assert await it.client.get_state() == "CONNECTED"
    assert await it.client.check()
    await answering
    assert repair in caplog.records[-1].message
    assert await it.client.get_state() == "CONNECTED"
    assert await simulator.phone.send_messages(1) == 1
    assert set(it.names) <= {"change_state", "loading_screen", "authenticated", "ready"}
    assert ("ready" in it.names) == ("starting the browser anew" in repair)


@pytest.mark.usefixtures("impatient")
async def test_nothing_is_repaired_where_the_server_is_away(make_client: Callable[..., Recorded], tmp_path: Path) -> None:
    async with Simulator(pair_delay=0.05, sync_delay=0.2) as simulator:
        it = make_client(web_url=simulator.url, auth_strategy=LocalAuth(data_path=tmp_path))
        await it.client.initialize()
        assert not await it.client.check()  # there is no login yet
        await simulator.phone.scan(it.client.qr or await it.client.wait_for("qr", timeout=60))
        await it.client.wait_for("ready", timeout=60)
        pid = it.client.browser_pid
    assert not await it.client.check()
    assert it.client.browser_pid == pid
    await it.client.destroy()
    with pytest.raises(BrowserClosed):
        await it.client.check()


# Crashes --------------------------------------------------------------------------------------------------------------


@real_address
async def test_a_crashed_page_is_opened_anew(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    it = make_client(auth_strategy=LocalAuth(data_path=tmp_path), eval_on_new_doc="window.mine = 1")
    await it.link(simulator)
    it.events.clear()
    before = it.client.page
    crash(it.client)
    await connected_anew(it.client, before)
    assert it.client.page is not before
    assert await it.client.page.evaluate("window.mine") == 1
    assert "Headless" not in await it.client.page.evaluate("navigator.userAgent")
    assert len(it.client.context.pages) == 1
    assert set(it.names) <= {"change_state", "loading_screen"}
    lost = asyncio.ensure_future(it.client.wait_for("change_state", timeout=60, predicate=lambda state: state == "TIMEOUT"))
    await simulator.phone.drop(60)
    await lost
    assert it.events.count(("change_state", "TIMEOUT")) == 1


@real_address
async def test_a_page_that_crashes_again_and_again_ends_the_browser(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wwauth._launch._MAX_PAGE_CRASHES", 1)
    it = make_client(auth_strategy=LocalAuth(data_path=tmp_path))
    await it.link(simulator)
    before = it.client.page
    crash(it.client)
    await connected_anew(it.client, before)
    ended = asyncio.ensure_future(it.client.wait_for("disconnected", timeout=60))
    await asyncio.sleep(0)
    crash(it.client)
    assert await ended == "BROWSER_CLOSED"
    await comes_back(it.client, it)


@real_address
async def test_a_page_that_crashes_before_the_login_is_opened_anew(
    make_client: Callable[..., Recorded], simulator: Simulator
) -> None:
    it = make_client()
    await it.client.initialize()
    first = it.client.qr or await it.client.wait_for("qr", timeout=60)
    crash(it.client)
    second = await it.client.wait_for("qr", timeout=60)
    assert first != second
    await simulator.phone.scan(second)
    await it.client.wait_for("ready", timeout=60)


@real_address
async def test_a_page_that_is_closed_is_the_end(make_client: Callable[..., Recorded]) -> None:
    it = make_client()
    await it.client.initialize()
    ended = asyncio.ensure_future(it.client.wait_for("disconnected", timeout=60))
    await asyncio.sleep(0)
    await it.client.page.close()
    assert await ended == "BROWSER_CLOSED"


@real_address
async def test_a_crashed_browser_is_started_again_within_the_limit(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wwauth._relaunch._PAUSE", 0.1)
    it = make_client(auth_strategy=LocalAuth(data_path=tmp_path), restart_on_crash=2)
    await it.link(simulator)
    for round_ in range(3):
        it.events.clear()
        pid = it.client.browser_pid
        assert pid is not None
        again = asyncio.ensure_future(
            it.client.wait_for("ready", timeout=60, predicate=lambda pid=pid: it.client.browser_pid != pid)
        )
        ended = asyncio.ensure_future(it.client.wait_for("disconnected", timeout=60))
        await asyncio.sleep(0)
        kill_tree(pid)
        assert await ended == "BROWSER_CLOSED"
        if round_ < 2:
            await again
            assert it.names[0] == "disconnected"
            assert it.names[-2:] == ["authenticated", "ready"]
        else:
            with pytest.raises(SessionClosed):
                await again
    await comes_back(it.client, it)


@pytest.mark.skipif(sys.platform == "win32", reason="no signal freezes a process on Windows")
@real_address
async def test_sleep_and_resume(make_client: Callable[..., Recorded], simulator: Simulator) -> None:
    it = make_client()
    await it.link(simulator)
    it.events.clear()
    processes = family(it.client.browser_pid)
    suspend(processes)
    await simulator.phone.drop(60)
    await simulator.phone.drop(0)  # all of it while the machine sleeps
    resume(processes)
    await it.client.wait_for("change_state", timeout=60, predicate=lambda state: state == "CONNECTED")
    assert set(it.names) == {"change_state"}
    assert await simulator.phone.send_messages(1) == 1


# Signals --------------------------------------------------------------------------------------------------------------

_PROGRAM = """
import asyncio, json, sys
from wwauth import Client, RemoteAuth
from wwauth.stores import FileSystemStore

async def main():
    strategy = RemoteAuth(store=FileSystemStore(sys.argv[2]), data_path=sys.argv[3], backup_sync_interval_ms=600_000)
    client = Client(**json.loads(sys.argv[1]), auth_strategy=strategy, restart_on_crash=5)
    for event in ("qr", "ready", "disconnected"):
        client.on(event, lambda *args, event=event: print(event, *args, flush=True))
    client.on("backup_saved", lambda report: print("saved", report.kind, flush=True))
    await client.initialize()
    await asyncio.sleep(120)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a process could answer")
@by_turns("reverse", [False, True], usual=1)
async def test_a_signal_to_all_processes_ends_in_a_backup_of_the_closed_profile(
    make_client: Callable[..., Recorded], simulator: Simulator, address: dict[str, Any], tmp_path: Path, *, reverse: bool
) -> None:
    arguments = (sys.executable, "-c", _PROGRAM, json.dumps(address), tmp_path / "store", tmp_path / "auth")
    program = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE, start_new_session=True)
    assert program.stdout is not None

    async def line(start: str) -> str:
        assert program.stdout is not None
        async with asyncio.timeout(60):
            while not (text := (await program.stdout.readline()).decode()).startswith(start):
                assert text
        return text

    try:
        await simulator.phone.scan((await line("qr ")).split(maxsplit=1)[1])
        await line("saved")
        assert await simulator.phone.send_messages(5) == 5
        before = simulator.pages[0]["messages"]
        group = family(program.pid)
        for process in reversed(group) if reverse else group:  # as a service manager does, which knows them all
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        rest = (await program.stdout.read()).decode().split("\n")
        assert await program.wait() == -signal.SIGTERM
        assert rest[0] in {"saved incremental", "disconnected BROWSER_CLOSED"}
        assert "saved incremental" in rest
        assert not [text for text in rest if text.startswith(("qr", "ready"))]
        _, alive = await asyncio.to_thread(psutil.wait_procs, group, timeout=20)
        assert not alive
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
    shutil.rmtree(tmp_path / "auth")
    it = make_client(auth_strategy=remote(tmp_path))
    await comes_back(it.client, it)
    assert [page["messages"] for page in simulator.pages] == [before]


@real_address
async def test_a_program_that_is_killed_takes_its_browser_along(
    simulator: Simulator, address: dict[str, Any], tmp_path: Path
) -> None:
    arguments = (sys.executable, "-c", _PROGRAM, json.dumps(address), tmp_path / "store", tmp_path / "auth")
    program = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE, start_new_session=True)
    assert program.stdout is not None
    async with asyncio.timeout(60):
        assert (await program.stdout.readline()).startswith(b"qr ")
    group = family(program.pid)
    assert len(group) > 3
    program.kill()
    await program.communicate()
    _, alive = await asyncio.to_thread(psutil.wait_procs, group, timeout=20)
    assert not alive


@real_address
async def test_a_frozen_page_keeps_nobody_waiting(
    make_client: Callable[..., Recorded], simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = make_client()
    await it.link(simulator)
    frozen = family(it.client.browser_pid)[1:]
    suspend(frozen)
    monkeypatch.setattr("wwauth.web.bridge._ANSWER", 0.5)
    assert await it.client.get_state() is None
    with pytest.raises(AuthTimeout, match=r"did not answer 'reconnect' within 0\.5 s"):
        await it.client.reset_state()
    resume(frozen)  # it closes sooner


# Damage ---------------------------------------------------------------------------------------------------------------


@by_turns("kind", ["remote", "local"], usual=1)
async def test_a_damaged_profile_is_set_aside(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path, kind: str
) -> None:
    it = make_client(auth_strategy=strategies(tmp_path)[kind])
    await it.link(simulator)
    await it.client.destroy()
    profile = it.client.auth_strategy.user_data_dir
    assert profile is not None
    current = next(profile.glob("Default/IndexedDB/*.leveldb/CURRENT"))
    current.write_bytes(b"nothing")
    for archive in (tmp_path / "store").glob("*.zip"):
        archive.unlink()
    it.events.clear()
    await it.client.initialize()
    assert it.client.qr or await it.client.wait_for("qr", timeout=60)
    assert it.names[:2] == ["error", "qr"]
    assert isinstance(it.events[0][1], SessionCorrupted)
    aside = next(profile.parent.glob(f"{profile.name}.damaged-*"))
    assert aside.name in str(it.events[0][1])
    assert (aside / current.relative_to(profile)).read_bytes() == b"nothing"


# Diagnostics ----------------------------------------------------------------------------------------------------------


@real_address
async def test_a_stuck_start_leaves_what_was_asked_for(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path, skip_time: Callable[[float], None]
) -> None:
    simulator.configure(sync_delay=600)
    it = make_client(
        auth_strategy=LocalAuth(data_path=tmp_path),
        ready_timeout_ms=60_000,
        diagnostics=True,
        eval_on_new_doc="console.error('look at this')",
    )
    await it.client.initialize()
    await simulator.phone.scan(it.client.qr or await it.client.wait_for("qr", timeout=60))
    waiting = asyncio.ensure_future(it.client.wait_for("error"))
    launch = it.client._launch
    assert launch is not None
    while launch.login.level.state != "CONNECTED":  # noqa: ASYNC110 - there is no event of it before `ready`
        await asyncio.sleep(0.02)
    assert not waiting.done()
    skip_time(60)
    error = await waiting
    folder = tmp_path / "diagnostics"
    assert sorted(path.suffix for path in folder.iterdir()) == [".png", ".txt"]
    text = next(folder.glob("*.txt")).read_text()
    assert "look at this" in text
    assert "AuthTimeout" in text
    assert next(folder.glob("*.png")).read_bytes().startswith(b"\x89PNG")
    assert str(folder) in "".join(error.__notes__)
    assert it.client.browser_pid is not None  # open for a look
    if sys.platform != "win32":
        assert folder.stat().st_mode & 0o777 == 0o700
        assert all(path.stat().st_mode & 0o777 == 0o600 for path in folder.iterdir())
    await it.client.destroy()
    simulator.configure(sync_delay=0.1)
    await comes_back(it.client, it)
