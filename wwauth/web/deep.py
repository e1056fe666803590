"""Opening an unpacked profile in a Chromium that has no network, to see that its databases open."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from ..backup.layout import CORRUPTION_NOTE, INDEXED_DB
from ..errors import AuthTimeout, SessionCorrupted
from .launched import LaunchedBrowser

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from playwright.async_api import Route

    from ..backup import StoredGeneration
    from ..options import ClientOptions

_log = logging.getLogger(__name__)

# No name is looked up, no address is reached, no proxy is asked: nothing but what is answered here.
_OFFLINE = ("--host-resolver-rules=MAP * ~NOTFOUND", "--no-proxy-server")

_TIMEOUT = 120.0

# Opens each database at the version it has, and counts the records of each of its stores, which reads every block. Then a
# scratch database comes and goes: what is written behind a bad tail is what the next opening stumbles over.
_LOOK = """async () => {
  const done = request => new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error('blocked'));
  });
  const found = [];
  for (const { name, version } of await indexedDB.databases()) {
    const database = await done(indexedDB.open(name));
    const stores = [...database.objectStoreNames];
    let records = 0;
    if (stores.length) {
      const transaction = database.transaction(stores, 'readonly');
      for (const store of stores) records += await done(transaction.objectStore(store).count());
    }
    if (database.version !== version) throw new Error(`${name} has version ${database.version}, not ${version}`);
    found.push([name, version, stores.length, records]);
    database.close();
  }
  const scratch = 'wwauth-verify';
  (await done(indexedDB.open(scratch, 1))).close();
  await done(indexedDB.deleteDatabase(scratch));
  localStorage.setItem(scratch, '1');
  const keys = localStorage.length;
  localStorage.removeItem(scratch);
  return [found.sort((a, b) => a[0] < b[0] ? -1 : 1), keys - 1];
}"""


def deep_look(
    web_url: str, *, launch_options: dict[str, Any] | None = None
) -> Callable[[Path, StoredGeneration], Awaitable[tuple[str, ...]]]:
    """
    Return what `BackupEngine.verify(look_into=…)` takes to open each generation in Chromium, twice.

    Nothing is loaded from `web_url`: an empty page stands at that address, in a browser without any network.

    Raises:
        ConfigurationError: An argument is wrong.
    """
    from ..client import Client  # noqa: PLC0415 - it imports this package

    given = dict(launch_options or {})
    given["args"] = [*(given.get("args") or []), *_OFFLINE]
    given["service_workers"] = "block"
    options = Client(web_url=web_url, launch_options=given, handle_signals=False).options

    async def look_into(user_data_dir: Path, generation: StoredGeneration) -> tuple[str, ...]:
        if generation.backend != "leveldb":
            return (f"not opened in a browser: it is for one that stores in {generation.backend}",)
        first = await _open(user_data_dir, options)
        second = await _open(user_data_dir, options)
        if first != second:
            raise SessionCorrupted(f"Chromium shows other databases at the second opening: {_text(second)}, not {_text(first)}")
        return (f"opened twice in Chromium: {_text(first)}",)

    return look_into


async def _open(user_data_dir: Path, options: ClientOptions) -> list[Any]:
    from playwright.async_api import Error  # noqa: PLC0415 - 0.3 s that only a launch needs

    browser = LaunchedBrowser(options, lambda: None)
    try:
        await browser.start(user_data_dir)
        page = browser.page
        await page.context.route("**/*", _answer)
        await page.goto(options.web_url)
        async with asyncio.timeout(_TIMEOUT):
            found: list[Any] = await page.evaluate(_LOOK)
    except Error as exc:
        if browser.is_gone(exc):
            raise
        reason = exc.message.partition("\n")[0]
        raise SessionCorrupted(f"Chromium cannot open its databases: {reason}") from exc
    except TimeoutError as exc:
        if isinstance(exc, AuthTimeout):
            raise
        raise SessionCorrupted(f"Chromium did not open its databases within {_TIMEOUT:g} s") from exc
    finally:
        await browser.stop()
    notes = await asyncio.to_thread(lambda: list((user_data_dir / INDEXED_DB).glob(f"*/{CORRUPTION_NOTE}")))
    if notes:
        raise SessionCorrupted(f"Chromium found {notes[0].parent.name} corrupt, and deleted it")
    if not found[0]:
        raise SessionCorrupted(f"Chromium finds no database of {options.web_url}")
    return found


async def _answer(route: Route) -> None:
    await route.fulfill(status=200, content_type="text/html", body="<!doctype html><title>verify</title>")


def _text(found: list[Any]) -> str:
    databases, keys = found
    shown = ", ".join(f"{name} v{version} ({records} records)" for name, version, _, records in databases)
    return f"{shown or 'no databases'}; {keys} keys in localStorage"
