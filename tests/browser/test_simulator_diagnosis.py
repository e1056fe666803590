"""The simulator's page sees what was done to its login: each diagnosis, by really damaging the storage of a real Chromium."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from wwauth.testing import Simulator

from .simulated import (
    NOWHERE,
    QUICK,
    SITE,
    STEPS,
    Linked,
    chromium_on,
    diagnosed,
    make_linked,
    scan,
    the_document,
    the_page,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

pytestmark = pytest.mark.browser

ORIGIN = "https_web.whatsapp.com_0.indexeddb"
MESSAGES = 40 + 20 + 3


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory, chromium: str) -> Linked:
    options: dict[str, Any] = {"headless": True, "executable_path": chromium}
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options["chromium_sandbox"] = False
    return asyncio.run(make_linked(tmp_path_factory.mktemp("linked"), options))


class Case:
    """A copy of the login, the simulator that knows it, and what came of it."""

    def __init__(self, folder: Path, linked: Linked, launch_options: dict[str, Any]) -> None:
        self.linked = linked
        self.profile = folder / "profile"
        self.state = folder / "state.json"
        self.launch_options = launch_options
        shutil.copytree(linked.new, self.profile, symlinks=True)
        shutil.copy2(linked.state, self.state)

    @property
    def indexeddb(self) -> Path:
        return self.profile / "Default" / "IndexedDB"

    @property
    def local_storage(self) -> Path:
        return self.profile / "Default" / "Local Storage"

    @asynccontextmanager
    async def simulator(self, **timings: Any) -> AsyncIterator[Simulator]:
        async with Simulator(state_file=self.state, **{**QUICK, **timings}) as simulator:
            yield simulator

    async def diagnose(self, harm: str | None = None, **timings: Any) -> dict[str, Any]:
        """Run `harm` where the page's scripts do not run, open the page, and return what it says of itself."""
        async with (
            self.simulator(**timings) as simulator,
            chromium_on(simulator, self.profile, self.launch_options) as (_, page),
        ):
            if harm is not None:
                await page.goto(NOWHERE)
                await page.evaluate(_HELPERS + harm + "})()")
            await page.goto(SITE)
            return await diagnosed(simulator)


_HELPERS = """(async () => {
  const open = (name) => new Promise((resolve, reject) => {
    const request = indexedDB.open(name);
    request.onsuccess = () => resolve(request.result);
    request.onerror = reject;
  });
  const change = async (name, store, work) => {
    const database = await open(name);
    const transaction = database.transaction(store, 'readwrite');
    const done = new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = () => reject(transaction.error);
    });
    await work(transaction.objectStore(store));
    await done;
    database.close();
  };
  const got = (request) => new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  const edit = (name, store, key, work) => change(name, store, async (it) => {
    const record = await got(it.get(key));
    work(record);
    it.put(record);
  });
"""


HARMS = [
    ("await got(indexedDB.deleteDatabase('signal-storage'));", "signal-storage: the database is missing"),
    ("await got(indexedDB.deleteDatabase('model-storage'));", "model-storage: the database is missing"),
    ("await got(indexedDB.deleteDatabase('wawc'));", "wawc: the database is missing"),
    ("await change('wawc', 'keys', (it) => it.delete('noise'));", "wawc: no noise in keys"),
    ("await change('wawc', 'seal', (it) => it.clear());", "wawc: its seal is missing"),
    ("await change('signal-storage', 'prekey-store', (it) => it.delete(7));", "signal-storage: 29 prekeys of 30"),
    ("await change('signal-storage', 'identity-store', (it) => it.clear());", "the identity key is missing"),
    ("await edit('signal-storage', 'session-store', 3, (it) => { it.index -= 8; });", "session 3 is from another moment"),
    ("await edit('model-storage', 'seal', 'seal', (it) => { it.index -= 2; });", "model-storage: from another moment"),
    ("await edit('wawc', 'seal', 'seal', (it) => { it.value[0] ^= 1; });", "wawc: its ratchet is not the one"),
    ("await change('model-storage', 'message', (it) => it.delete(12));", "message 12 of 63 is missing"),
    ("await edit('model-storage', 'message', 5, (it) => { it.body += '!'; });", "message 5 of 63 has another content"),
    ("await edit('model-storage', 'message', 20, (it) => { delete it.media; });", "message 20 of 63 has lost its file"),
    (
        "await edit('model-storage', 'message', 63, (it) => { it.seq = 64; });",
        "message 64 of 63 is from another moment",
    ),
    ("localStorage.removeItem('WANoiseInfo');", "localStorage: WANoiseInfo is missing"),
    (
        "const text = localStorage.WALoginSeal; localStorage.WALoginSeal = text.slice(0, -8) + 'AAAAAAA=';",
        "localStorage: WALoginSeal does not open with the key in wawc",
    ),
]

# All that is stored, kept in memory, so that one browser serves for many kinds of harm.
_KEEP = """async () => {
  const places = await import('/page/places.js');
  const kept = [];
  for (const [name, stores] of Object.entries(places.DATABASES)) {
    const database = await places.open(name);
    for (const store of Object.keys(stores)) kept.push([name, store, await places.readRange(database, store, null)]);
    database.close();
  }
  const local = Object.entries({ ...localStorage });
  window.putBack = async () => {
    const databases = await places.openAll();
    for (const [name, store, records] of kept) {
      const transaction = databases[name].transaction(store, 'readwrite');
      transaction.objectStore(store).clear();
      for (const record of records) transaction.objectStore(store).put(record);
      await new Promise((resolve, reject) => {
        transaction.oncomplete = resolve;
        transaction.onabort = () => reject(transaction.error);
      });
    }
    for (const database of Object.values(databases)) database.close();
    localStorage.clear();
    for (const [name, value] of local) localStorage.setItem(name, value);
  };
}"""


@pytest.fixture
def case(tmp_path: Path, linked: Linked, launch_options: dict[str, Any]) -> Case:
    return Case(tmp_path, linked, launch_options)


async def test_an_untouched_login_is_ok(case: Case) -> None:
    page = await case.diagnose()
    assert (page["diagnosis"], page["stage"], page["problems"]) == ("ok", "ready", [])
    assert (page["messages"], page["damaged"], page["behind"]) == (MESSAGES, 0, 0)


async def test_an_empty_profile_is_fresh(case: Case) -> None:
    shutil.rmtree(case.profile)
    page = await case.diagnose()
    assert (page["diagnosis"], page["stage"], page["problems"]) == ("fresh", "qr", [])


async def test_keys_without_a_login_stay_fresh_and_stay_the_same(tmp_path: Path, launch_options: dict[str, Any]) -> None:
    async with Simulator(**QUICK) as simulator:
        codes = []
        for _ in range(2):
            async with chromium_on(simulator, tmp_path / "profile", launch_options) as (_context, page):
                await page.goto(SITE)
                codes.append((await the_page(simulator, stage="qr", diagnosis="fresh"))["qr"].split(","))
    assert codes[0][0] != codes[1][0]
    assert codes[0][1:] == codes[1][1:]


async def test_before_the_server_was_asked_it_is_whole(case: Case) -> None:
    async with case.simulator() as simulator, chromium_on(simulator, case.profile, case.launch_options) as (_, page):
        await simulator.phone.drop(60)
        await page.goto(SITE)
        shown = page.locator("#diagnosis")
        await shown.get_by_text("whole", exact=True).wait_for(timeout=20_000)
        assert await page.locator("#state").text_content() == "OPENING"


async def test_what_is_missing_or_changed_is_named(case: Case) -> None:
    async with case.simulator() as simulator, chromium_on(simulator, case.profile, case.launch_options) as (context, page):
        other = await context.new_page()
        await other.goto(NOWHERE)
        await other.evaluate(_KEEP)
        wrong = []
        for harm, said in HARMS:
            await other.evaluate(_HELPERS + harm + "})()")
            await page.goto(SITE)
            told = await diagnosed(simulator)
            damaged = 1 if "message " in said else 0
            if (told["diagnosis"], told["stage"], told["damaged"]) != ("torn", "qr", damaged) or said not in str(
                told["problems"]
            ):
                wrong.append((harm, told))
            await page.goto("about:blank")
            await simulator.wait_for(lambda: not simulator.pages)
            await other.evaluate("window.putBack()")
        assert wrong == []
        await page.goto(SITE)
        told = await diagnosed(simulator)
        assert (told["diagnosis"], told["messages"], told["damaged"]) == ("ok", MESSAGES, 0)


async def test_local_storage_alone_is_torn_not_fresh(case: Case) -> None:
    shutil.rmtree(case.indexeddb)
    page = await case.diagnose()
    assert page["diagnosis"] == "torn"
    assert [problem.split(":")[0] for problem in page["problems"]] == ["signal-storage", "model-storage", "wawc"]


async def test_a_database_that_chromium_wiped_is_torn_not_fresh(case: Case) -> None:
    manifest = next((case.indexeddb / f"{ORIGIN}.leveldb").glob("MANIFEST-*"))
    manifest.write_bytes(b"\0" * 20)
    page = await case.diagnose()
    assert page["diagnosis"] == "torn"
    assert page["problems"]


@pytest.mark.parametrize("harm", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-1])])
async def test_a_blob_that_is_missing_or_cut_is_torn(case: Case, harm: Callable[[Path], object]) -> None:
    blobs = [path for path in (case.indexeddb / f"{ORIGIN}.blob").rglob("*") if path.is_file()]
    assert len(blobs) == 6  # three files of messages, three bodies over 64 kB
    for path in blobs:
        if path.stat().st_size == 100_000:
            harm(path)
    page = await case.diagnose()
    assert page["diagnosis"] == "torn"
    assert page["damaged"] >= 3
    assert all("message " in problem for problem in page["problems"])


async def test_an_older_indexeddb_beside_a_newer_local_storage_is_torn(case: Case) -> None:
    shutil.rmtree(case.indexeddb)
    shutil.copytree(case.linked.old / "Default" / "IndexedDB", case.indexeddb)
    page = await case.diagnose(storage_lead=1)
    assert page["diagnosis"] == "torn"
    assert "IndexedDB: from another moment" in page["problems"][0]


async def test_an_older_local_storage_is_torn_beyond_chromiums_lag_alone(case: Case) -> None:
    shutil.rmtree(case.local_storage)
    shutil.copytree(case.linked.old / "Default" / "Local Storage", case.local_storage)
    kept = case.profile.with_name("kept")
    shutil.copytree(case.profile, kept, symlinks=True)
    page = await case.diagnose(storage_lag=1)
    assert page["diagnosis"] == "torn"
    assert "localStorage: from another moment" in page["problems"][0]
    shutil.rmtree(case.profile)
    kept.rename(case.profile)
    page = await case.diagnose()
    assert page["diagnosis"] == "ok"
    assert page["lag"] > 1


async def test_a_missing_local_storage_is_torn_unless_the_login_is_young(case: Case) -> None:
    page = await case.diagnose("localStorage.clear();", storage_lag=1)
    assert page["diagnosis"] == "torn"
    assert "localStorage: the login is missing" in page["problems"][0]
    # No step follows, since the browser might be closed in the middle of one.
    page = await case.diagnose(ratchet_interval=60)
    assert page["diagnosis"] == "ok"
    page = await case.diagnose(storage_lag=1)
    assert page["diagnosis"] == "ok"  # it was written again
    assert page["lag"] == 0


async def test_an_older_whole_profile_is_accepted_and_its_lag_reported(case: Case) -> None:
    shutil.rmtree(case.profile)
    shutil.copytree(case.linked.old, case.profile, symlinks=True)
    page = await case.diagnose()
    assert (page["diagnosis"], page["messages"], page["damaged"]) == ("ok", MESSAGES - 3, 0)
    assert page["behind"] >= STEPS


async def test_a_forgotten_device_is_rejected(case: Case) -> None:
    async with case.simulator() as simulator, chromium_on(simulator, case.profile, case.launch_options) as (_, page):
        await page.goto(SITE)
        await the_page(simulator, stage="ready", diagnosis="ok")
        await simulator.phone.forget()
        rejected = await the_page(simulator, stage="qr", diagnosis="rejected", state="UNPAIRED")
        assert "does not know this device" in rejected["problems"][0]
        await page.reload()
        await the_document(simulator, page, stage="qr", diagnosis="rejected", state="UNPAIRED")
        # Another login takes its place.
        await scan(simulator)
        await the_page(simulator, stage="ready", diagnosis="ok", problems=[])
        await page.reload()
        await the_document(simulator, page, stage="ready", diagnosis="ok", problems=[])


async def test_another_key_is_rejected(case: Case) -> None:
    page = await case.diagnose("""
      const pair = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign', 'verify']);
      const raw = new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey));
      await change('wawc', 'keys', (it) => { it.put({ name: 'noise', pair, raw }); });
    """)
    assert page["diagnosis"] == "rejected"
    assert "noise key" in page["problems"][0]


@pytest.mark.parametrize("when", ["open", "closed"])
async def test_an_unlinked_device_deletes_its_login(case: Case, when: str) -> None:
    async with case.simulator() as simulator, chromium_on(simulator, case.profile, case.launch_options) as (_, page):
        if when == "closed":
            await simulator.phone.unlink()
            await page.goto(SITE)
        else:
            await page.goto(SITE)
            await the_page(simulator, stage="ready")
            await simulator.phone.unlink()
        await the_page(simulator, stage="qr", diagnosis="logged-out")
        await page.wait_for_url(lambda url: "post_logout=1" in url)  # the browser tells of it on another way
        assert simulator.devices == {}
        assert await page.evaluate("localStorage.length") == 0
        await page.goto(SITE)
        await the_document(simulator, page, stage="qr", diagnosis="fresh")


async def test_a_torn_login_stays_for_a_look_until_another_is_made(case: Case) -> None:
    async with case.simulator() as simulator, chromium_on(simulator, case.profile, case.launch_options) as (_, page):
        await page.goto(NOWHERE)
        await page.evaluate(_HELPERS + "await change('model-storage', 'message', (it) => it.delete(1));})()")
        for _ in range(2):
            await page.goto(SITE)
            await the_document(simulator, page, stage="qr", diagnosis="torn", damaged=1)
        await scan(simulator)
        await the_page(simulator, stage="ready", diagnosis="ok", damaged=0)
        await page.reload()
        await the_document(simulator, page, stage="ready", diagnosis="ok", damaged=0)


async def test_a_browser_killed_while_it_writes_leaves_a_whole_login(case: Case) -> None:
    for _ in range(3):
        await _kill_while_it_writes(case)
    told = await case.diagnose()
    assert (told["diagnosis"], told["damaged"], told["problems"]) == ("ok", 0, [])


async def _kill_while_it_writes(case: Case) -> None:
    async with (
        case.simulator(ratchet_interval=0.01) as simulator,
        chromium_on(simulator, case.profile, case.launch_options) as (context, page),
    ):
        await page.goto(SITE)
        before = await the_page(simulator, stage="ready", diagnosis="ok")
        sending = asyncio.create_task(simulator.phone.send_messages(300, 5_000))
        await simulator.wait_for(lambda: simulator.pages[0]["messages"] > before["messages"] + 50)
        gone = asyncio.Event()
        context.on("close", lambda _context: gone.set())
        _kill_browser(case.profile)
        await gone.wait()
        assert 50 <= await sending < 300


def _kill_browser(profile: Path) -> None:
    found = [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(profile) in part for part in process.info["cmdline"] or []) and "--type=" not in str(process.info["cmdline"])
    ]
    for process in found:
        if "chrom" in process.name():
            process.kill()
