"""What the commands on stored sessions share: a store from its URL and keys, a profile under its lock, errors and answers."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .._names import check_session_name
from .._threads import in_thread
from ..errors import ConfigurationError, SessionInUse, WWAuthError
from ._console import megabytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence

    from ..abc import Store
    from ..backup import BackupReport

_SECRET = "AGE-SECRET-KEY-"  # noqa: S105 - how every secret key begins

StoreUrl = Annotated[
    str, typer.Option("--store", envvar="WWAUTH_STORE", metavar="URL", help="Where the backups are, such as file:backups.")
]
Recipients = Annotated[
    list[str] | None,
    typer.Option("--recipient", metavar="KEY", help="A public key to encrypt for, or a file of them; may be repeated."),
]
IdentityFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--identity-file",
        envvar="WWAUTH_IDENTITY_FILE",
        metavar="FILE",
        help="A file of secret keys, as `wwauth keygen` makes; may be repeated. Alone, it stands for its public keys, too.",
    ),
]
Session = Annotated[str, typer.Argument(metavar="SESSION", help="The session's name, such as RemoteAuth-client-one.")]
DataPath = Annotated[Path, typer.Option(help="The folder of the profiles.")]
WebUrl = Annotated[str, typer.Option(help="A profile must hold a login of this address.")]
WorkDir = Annotated[
    Path | None,
    typer.Option(help="Where archives lie meanwhile; the system's folder for temporary files, when not given."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON text and nothing else.")]

DATA_PATH = Path(".wwebjs_auth")
WEB_URL = "https://web.whatsapp.com/"


class WrongUse(ConfigurationError):
    """The command was called in a wrong way: the exit code is 2."""

    exit_code = 2


@contextmanager
def wrong_use() -> Iterator[None]:
    """Take a `ConfigurationError` for a wrong call."""
    try:
        yield
    except ConfigurationError as exc:
        raise WrongUse(str(exc)) from exc


@contextmanager
def disk_errors(where: Path | None) -> Iterator[None]:
    """Name the folder, and the cure, where the system says only what it refused."""
    try:
        yield
    except OSError as exc:
        # The second: whoever read the answer has ended, as `head` does.
        if isinstance(exc, WWAuthError | BrokenPipeError):
            raise
        place = exc.filename or where or "the folder for temporary files"
        raise ConfigurationError(
            f"{place} cannot be used ({exc.strerror or exc}): name a folder on a disk that can be written to and has room"
        ) from exc


@dataclass(frozen=True, slots=True)
class Place:
    """Which store, and with which keys."""

    url: str = field(repr=False)
    recipients: list[str] | None
    identity_files: list[Path] | None


@asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Store]:
    """Open the store that the options name, encrypted where they name keys."""
    from ..stores import open_store  # noqa: PLC0415 - for these commands alone

    with wrong_use():
        inner = open_store(place.url)
    try:
        with wrong_use():
            store = _encrypted(inner, place.recipients or [], place.identity_files or [])
        yield store
    finally:
        await inner.close()


def _encrypted(inner: Store, recipients: list[str], identity_files: list[Path]) -> Store:
    if not recipients and not identity_files:
        return inner
    if any(str(file).strip().upper().startswith(_SECRET) for file in identity_files):
        raise ConfigurationError("--identity-file takes the name of a file: a secret key on the command line is seen by others")
    if not identity_files:
        raise ConfigurationError("--recipient needs --identity-file, too: what is saved is read back, so its key must be there")
    from ..stores import EncryptedStore  # noqa: PLC0415 - pyrage is needed for keys alone

    return EncryptedStore(inner, recipients=recipients or identity_files, identities=identity_files)


@asynccontextmanager
async def held(session: str, data_path: Path) -> AsyncIterator[Path]:
    """
    Give a session's profile, whose lock is held meanwhile: no client works on it.

    Raises:
        SessionInUse: A client does; its holder is named.
    """
    from .._lock import profile_lock  # noqa: PLC0415 - for the commands on profiles alone

    profile = data_path.absolute() / session
    with disk_errors(data_path):
        lock = profile_lock(profile)
        try:
            await in_thread(lambda _: lock.acquire())
        except SessionInUse as exc:
            raise SessionInUse(
                f"a client works on {profile} ({exc.holder or 'which cannot be named'}) and saves it by itself: stop it first",
                holder=exc.holder,
                pid=exc.pid,
            ) from exc
    try:
        yield profile
    finally:
        lock.release()


def checked_name(session: str) -> str:
    """Refuse what is no session's name, as a wrong call."""
    with wrong_use():
        return check_session_name(session)


def checked_address(web_url: str) -> str:
    """Refuse what is no web address, as a wrong call."""
    from ..backup.layout import origin_directory  # noqa: PLC0415 - for these commands alone

    with wrong_use():
        origin_directory(web_url)
    return web_url


def run(work: Coroutine[Any, Any, bool], *, where: Path | None = None) -> None:
    """Run a command to its end; what it returns says whether all is well, else the exit code is 1."""
    if not logging.getLogger("wwauth").isEnabledFor(logging.DEBUG):
        # Which generations are passed over, and why, stands in the answer.
        logging.getLogger("wwauth.backup._fetch").setLevel(logging.ERROR)
    with disk_errors(where):
        good = asyncio.run(work)
    if not good:
        raise typer.Exit(1)


def print_json(value: object) -> None:
    """Print the answer for machines."""
    typer.echo(json.dumps(value, default=_plain, indent=2))


def print_saved(report: BackupReport, *, json: bool) -> None:
    """Print what a backup came to."""
    if json:
        print_json(as_dict(report))
    elif report.kind == "unchanged":
        typer.echo(f"{report.session}: nothing changed since generation {report.generation}; nothing was uploaded")
    else:
        typer.echo(
            f"{report.session}: generation {report.generation} saved ({report.kind}), {megabytes(report.bytes_uploaded)} "
            f"uploaded of {megabytes(report.bytes_total)} in {report.files} files"
        )


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def as_dict(report: Any, **more: object) -> dict[str, Any]:
    """Return a report as JSON has it."""
    return {**asdict(report), **more}


def age(moment: datetime | None) -> str:
    """Return how long ago something was, for people."""
    if moment is None:
        return "-"
    seconds = max(0, int((datetime.now(UTC) - moment).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def table(rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset()) -> list[str]:
    """Lay out rows, the first of them the heading, in columns as wide as they need; those in `right` end in one line."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = zip(row, widths, strict=True)
        padded = [text.rjust(width) if i in right else text.ljust(width) for i, (text, width) in enumerate(cells)]
        lines.append("  " + "  ".join(padded).rstrip())
    return lines
