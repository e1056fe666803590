"""A page that writes to IndexedDB under invariants, and a browser that checks them in a copy of its profile."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from playwright.async_api import Error, async_playwright

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from playwright.async_api import BrowserContext, BrowserType, Page

# Each transaction puts records of its own number under random keys, and writes the list of which transaction owns which
# key into the same transaction. So every copy that is not of one moment contradicts itself.
_PAGE = """<!doctype html><title>writer</title><script>
const KEYS = 400, SIZE = 20000, BLOB = 100000;
let random;
function seed(n) { random = () => { n |= 0; n = n + 0x6D2B79F5 | 0; let t = Math.imul(n ^ n >>> 15, 1 | n);
  t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t; return ((t ^ t >>> 14) >>> 0) / 4294967296; }; }
function open() { return new Promise((resolve, reject) => { const q = indexedDB.open('store', 1);
  q.onupgradeneeded = () => { q.result.createObjectStore('records'); q.result.createObjectStore('meta'); };
  q.onsuccess = () => resolve(q.result); q.onerror = () => reject(q.error); q.onblocked = () => reject('blocked'); }); }
function done(t) { return new Promise((resolve, reject) => { t.oncomplete = resolve; t.onabort = () => reject(t.error); }); }
function get(s, k) { return new Promise((resolve, reject) => { const q = s.get(k);
  q.onsuccess = () => resolve(q.result); q.onerror = () => reject(q.error); }); }
const sleep = ms => new Promise(r => setTimeout(r, ms));
let db, owners, n = 0, run = true;
async function transaction(count, size) {
  const t = db.transaction(['records', 'meta'], 'readwrite'), records = t.objectStore('records'), meta = t.objectStore('meta');
  const seq = n + 1;
  for (let i = 0; i < count; i++) {
    const key = Math.floor(random() * KEYS), body = new Uint8Array(size);
    crypto.getRandomValues(body); new DataView(body.buffer).setUint32(0, seq);
    new DataView(body.buffer).setUint32(size - 4, seq);
    records.put({ seq, body }, key); owners[key] = seq;
  }
  if (seq % 5 === 0) { records.put(new Blob([new Uint32Array(BLOB / 4).fill(seq)]), 'blob'); owners[KEYS] = seq; }
  meta.put({ seq, owners }, 'head');
  await done(t); n = seq;
}
async function write(load, number) {
  seed(number); db = await open(); owners = new Uint32Array(KEYS + 1);
  localStorage.setItem('begun', '1');
  (async () => { try {
    while (run) {
      if (load === 'gentle') { await transaction(1, 300); await sleep(100); }
      else if (load === 'heavy') await transaction(20, SIZE);
      else { const end = performance.now() + 400;
        while (run && performance.now() < end) await transaction(20, SIZE);
        await sleep(1600); }
      if (n % 50 === 0) localStorage.setItem('n', String(n));
    }
  } catch (error) { window.failed = String(error); } })();
}
async function check() {
  const names = (await indexedDB.databases()).map(d => d.name);
  if (!names.includes('store')) return { wrong: 'the database is gone: ' + JSON.stringify(names) };
  db = await open();
  const t = db.transaction(['records', 'meta'], 'readonly'), records = t.objectStore('records');
  const head = await get(t.objectStore('meta'), 'head'), visits = await get(t.objectStore('meta'), 'visits') || 0;
  if (!head) return { wrong: 'no head' };
  const values = await Promise.all(Array.from({ length: KEYS }, (_, key) => get(records, key)));
  for (let key = 0; key < KEYS; key++) {
    const value = values[key], seq = head.owners[key];
    if (!seq !== !value) return { wrong: `record ${key}: ${value ? 'too many' : 'missing'}` };
    if (!seq) continue;
    const view = new DataView(value.body.buffer);
    if (value.seq !== seq || view.getUint32(0) !== seq || view.getUint32(value.body.length - 4) !== seq)
      return { wrong: `record ${key} is of transaction ${value.seq}, not ${seq}` };
  }
  const blob = await get(records, 'blob');
  if (!head.owners[KEYS] !== !blob) return { wrong: 'the blob is missing, or one too many' };
  if (blob) { const body = new Uint32Array(await blob.arrayBuffer());
    if (body.length !== BLOB / 4 || body.some(x => x !== head.owners[KEYS]))
      return { wrong: 'the blob is of another transaction' }; }
  const w = db.transaction(['meta'], 'readwrite'); w.objectStore('meta').put(visits + 1, 'visits'); await done(w);
  db.close();
  return { seq: head.seq, visits, storage: localStorage.getItem('begun') };
}
</script>"""


PATIENCE = 120.0
"""Seconds for each step that is not tested: a machine on which much else runs is no finding."""


class BrowserDied(Exception):
    """The browser, or its page, ended in the middle."""


@dataclass(frozen=True)
class Site:
    """The page, served on loopback, and what starts browsers for it."""

    url: str
    browser_type: BrowserType


@contextlib.asynccontextmanager
async def serve() -> AsyncIterator[Site]:
    """Serve the page on a free port of loopback."""
    body = _PAGE.encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer % (len(body), body))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    # One driver for all browsers: to start one takes as long as to start a browser.
    async with server, async_playwright() as playwright:
        yield Site(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", playwright.chromium)


@contextlib.asynccontextmanager
async def browse(site: Site, profile: Path, launch_options: dict[str, Any]) -> AsyncIterator[Page]:
    """Open the page in a fresh browser on a profile."""
    try:
        context = await site.browser_type.launch_persistent_context(profile, timeout=PATIENCE * 1000, **launch_options)
        try:
            page = context.pages[0] if context.pages else await context.new_page()
            await page.goto(site.url, timeout=PATIENCE * 1000)
            yield page
        finally:
            await context.close()
    except Error as exc:
        if any(words in str(exc) for words in ("has been closed", "Target closed", "crashed")):
            raise BrowserDied(str(exc)) from exc
        raise


@contextlib.asynccontextmanager
async def writing(site: Site, profile: Path, launch_options: dict[str, Any], *, load: str, seed: int) -> AsyncIterator[Page]:
    """Keep the page writing; at the end it must not have failed."""
    async with browse(site, profile, launch_options) as page:
        await page.evaluate("([load, seed]) => write(load, seed)", [load, seed])
        await page.wait_for_function("n >= 10", timeout=PATIENCE * 1000)
        yield page
        await page.evaluate("() => { run = false }")
        failed = await page.evaluate("window.failed || null")
        assert failed is None, failed


async def keep_local_storage(page: Page, profile: Path) -> None:
    """Have localStorage on the disk: Chromium writes it when it sees fit, and a snapshot does not wait for it for long."""
    await flush(page.context)
    while not await asyncio.to_thread(_has_begun, profile):  # noqa: ASYNC110 - a file tells nobody
        await asyncio.sleep(0.02)


def _has_begun(profile: Path) -> bool:
    """Tell whether what `write` keeps in localStorage is on the disk."""
    for file in (profile / "Default/Local Storage/leveldb").iterdir():
        with contextlib.suppress(OSError):
            if b"begun" in file.read_bytes():
                return True
    return False


async def flush(context: BrowserContext) -> None:
    """Make Chromium commit localStorage: the last tab of another origin closes."""
    page = await context.new_page()
    try:
        await page.route("**/*", lambda route: route.fulfill(content_type="text/html", body="<title>flush</title>"))
        await page.goto("https://flush.invalid/")
        await page.evaluate("() => { localStorage.setItem('x', '1'); localStorage.removeItem('x'); }")
    finally:
        await page.close()


async def written(page: Page) -> int:
    """Return the number of the last transaction that is complete."""
    return int(await page.evaluate("n"))


async def check_twice(site: Site, copy: Path, launch_options: dict[str, Any], *, at_least: int) -> str | None:
    """
    Open a copy in two fresh browsers, one after the other; return what is wrong with it, or None.

    Raises:
        BrowserDied: A browser was ended from outside, or by the copy: another look at the copy as it was tells which.
    """
    first = None
    for visit in range(2):
        async with browse(site, copy, launch_options) as page:
            try:
                found = await page.evaluate("check()")
            except Error as exc:
                if page.is_closed() or "crashed" in str(exc):
                    raise
                return f"opening {visit + 1}: {exc}"
        if "wrong" in found:
            return f"opening {visit + 1}: {found['wrong']}"
        if found["seq"] < at_least:
            return f"opening {visit + 1}: transaction {found['seq']}, but {at_least} was complete before the copy began"
        if found["visits"] != visit or found["seq"] != (first or found["seq"]):
            return f"opening {visit + 1}: visit {found['visits']}, transaction {found['seq']} after {first}"
        if found["storage"] != "1":
            return f"opening {visit + 1}: localStorage is gone"
        first = found["seq"]
    return None
