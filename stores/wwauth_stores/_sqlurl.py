"""SQL databases by their URLs: which driver serves one, what may be shown of it, and whether it is on this machine."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from wwauth.errors import ConfigurationError

from ._driver import is_loopback, load
from .urls import redact_url

if TYPE_CHECKING:
    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import AsyncEngine

# The drivers that are tested. Without one in the URL, it is the first that is installed; the extras bring the first one.
_DRIVERS: dict[str, tuple[str, ...]] = {
    "sqlite": ("aiosqlite",),
    "postgresql": ("asyncpg",),
    "postgres": ("asyncpg",),
    "mysql": ("aiomysql", "asyncmy"),
    "mariadb": ("aiomysql", "asyncmy"),
}
_DIALECTS = {"postgres": "postgresql"}
_EXTRAS = {"mariadb": "mysql", "postgres": "postgresql"}


def new_engine(text: str, *, needed_by: str = "SQLStore") -> AsyncEngine:
    """
    Return an engine for a database's URL, which connects with its first use.

    Raises:
        ConfigurationError: It is no such URL; no password is in the message.
        MissingDependency: SQLAlchemy or the driver is not installed.
    """
    scheme, _, rest = text.partition(":") if isinstance(text, str) else ("", "", "")
    kind, _, driver = scheme.lower().partition("+")
    if kind not in _DRIVERS:
        raise _wrong(text, "begin with sqlite:, postgresql:, mysql: or mariadb:, as in sqlite:///wwauth.db")
    extra = _EXTRAS.get(kind, kind)
    sqlalchemy = load("sqlalchemy.ext.asyncio", extra=extra, needed_by=needed_by)
    driver = _driver(text, kind, driver, extra, needed_by)
    url = _parsed(text, f"{_DIALECTS.get(kind, kind)}+{driver}:{rest}")
    if kind == "sqlite":
        # Absolute from the start: a later chdir() must not move the logins.
        url = url.set(database=str(sqlite_path(url)))
    elif not url.database:
        raise _wrong(text, f"name a database after the host, as in {kind}://host/wwauth")
    if driver == "asyncpg" and "sslmode" in url.query:
        # libpq's word, which hosting services put into the URLs that they hand out; asyncpg has the same values under its own.
        url = url.difference_update_query(["sslmode"]).update_query_dict({"ssl": url.query["sslmode"]})
    # An error's text would show values otherwise, and those are archives.
    engine: AsyncEngine = sqlalchemy.create_async_engine(url, hide_parameters=True)
    return engine


def sqlite_path(url: URL) -> Path:
    """Return where an SQLite database lies, absolute; `ConfigurationError` when it is not an ordinary file."""
    name = url.database or ""
    if name in {"", ":memory:"} or name.startswith("file:"):
        raise ConfigurationError(
            f"invalid SQLite database {name!r}: name a file, as in sqlite:///wwauth.db; what is kept in memory is for memory:"
        )
    return Path(name).absolute()


def place(url: URL) -> str:
    """Return a URL that may be shown: without user, password and options."""
    kind = url.get_backend_name()
    if kind == "sqlite":
        return f"sqlite:///{url.database}"
    host = (url.host or "").rpartition("@")[2]
    host = f"[{host}]" if ":" in host else host
    port = f":{url.port}" if url.port else ""
    return f"{kind}://{host}{port}/{url.database or ''}"


def is_remote(url: URL) -> bool:
    """Tell whether what is kept there leaves this machine."""
    if url.get_backend_name() == "sqlite":
        return False
    # A host may stand among the options, too, or several of them; none at all is this machine.
    named = url.query.get("host", ())
    hosts = [url.host or "", *((named,) if isinstance(named, str) else named)]
    # One that begins with a slash is a folder of sockets.
    return not all(host.startswith("/") or is_loopback(host) for host in hosts if host)


def _driver(text: str, kind: str, named: str, extra: str, needed_by: str) -> str:
    known = _DRIVERS[kind]
    if named and named not in known:
        raise _wrong(text, f"{needed_by} awaits its driver, so name {' or '.join(known)}, or none")
    wanted = (named,) if named else known
    driver = next((one for one in wanted if importlib.util.find_spec(one) is not None), wanted[0])
    load(driver, extra=extra, needed_by=needed_by)
    return driver


def _parsed(text: str, whole: str) -> URL:
    engine = load("sqlalchemy.engine", extra="sqlite", needed_by="SQLStore")
    try:
        url: URL | None = engine.make_url(whole)
    except Exception:  # noqa: BLE001 - SQLAlchemy's own errors, and a ValueError
        url = None
    if url is None or "@" in (url.host or ""):
        # Not `from`: that error quotes what it took for the port, which may be half of a password; and so may a host be.
        cure = "write scheme://user:password@host/database, with what is special in the password percent-encoded"
        raise _wrong(text, cure)
    return url


def _wrong(text: object, cure: str) -> ConfigurationError:
    shown = repr(redact_url(text)) if isinstance(text, str) else f"of type {type(text).__name__}"
    return ConfigurationError(f"invalid store URL {shown}: {cure}")
