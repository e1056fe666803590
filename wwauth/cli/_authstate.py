"""What the commands on auth states share: a store from a path or a URL and keys, and the session that is meant."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .._names import is_session_name
from .._urls import without_query
from ..errors import ConfigurationError, SessionNotFound
from ._session import WrongUse, checked_name, wrong_use

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..abc import AuthStateStore

_SHOWN = 10

Target = Annotated[
    str,
    typer.Argument(metavar="WHERE", help="Baileys' folder, or the URL of a database, such as sqlite:///wwauth.db."),
]
SessionName = Annotated[
    str | None, typer.Option("--session", metavar="NAME", help="Which login, in a database that has several.")
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        envvar="WWAUTH_AUTHSTATE_KEY_FILE",
        metavar="FILE",
        help="The keys of an encrypted database, one a line; the first one writes.",
    ),
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace what is there.")]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be done, and do nothing.")]


@asynccontextmanager
async def opened_auth_state(
    target: str, key_file: Path | None = None, *, allow_plaintext: bool = False
) -> AsyncIterator[AuthStateStore]:
    """Open the place that a command names, decrypted where it names keys."""
    from ..authstate.encrypted import EncryptedAuthState  # noqa: PLC0415 - after a wrong call is known for one
    from ..authstate.targets import open_auth_state_store  # noqa: PLC0415 - as above

    with wrong_use():
        store = open_auth_state_store(target)
    try:
        if key_file is None:
            yield store
        else:
            with wrong_use():
                encrypted = EncryptedAuthState(store, keys=read_keys(key_file), allow_plaintext=allow_plaintext)
            yield encrypted
    finally:
        await store.close()


def read_keys(file: Path) -> list[str]:
    """Return the keys in a file; lines that begin with # are remarks."""
    if str(file).startswith("wwauth-key-"):
        raise ConfigurationError("--key-file takes the name of a file: a key on the command line is seen by others")
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read {file}: name a file of keys, as `wwauth authstate keygen` makes") from error
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


async def sessions_of(store: AuthStateStore, target: str, session: str | None) -> list[str]:
    """Return the session that is named, or all that are there."""
    if session is not None:
        return [checked_name(session)]
    with wrong_use():
        found = [name async for name in store.list_sessions()]
    if found:
        return [name if is_session_name(name) else "default" for name in found]
    if Path(target).is_dir():
        return ["default"]  # a folder without credentials: what is wrong with it is worth telling
    raise SessionNotFound(
        f"there is no auth state in {shown(target)}: name Baileys' folder, or the URL of a database, that has one"
    )


async def session_of(store: AuthStateStore, target: str, session: str | None) -> str:
    """Return the session that is meant: the one that is named, or the only one that is there."""
    found = await sessions_of(store, target, session)
    if len(found) > 1:
        names = ", ".join(found[:_SHOWN])
        raise WrongUse(f"{len(found)} sessions are there ({names}{', …' if len(found) > _SHOWN else ''}): name one (--session)")
    return found[0]


def shown(target: str) -> str:
    """Return a target as messages may show it."""
    return without_query(target) if set(target) & {"@", "?", "#"} and ":" in target else target


def counted(counts: dict[str, int]) -> str:
    """Return counts by type, for people."""
    return ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "nothing"
