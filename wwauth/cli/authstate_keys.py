"""`wwauth authstate keygen` and `rekey`: encryption of auth states at rest."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations when the command is made
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ..errors import ConfigurationError
from ._authstate import SessionName, Target, opened_auth_state, sessions_of
from ._session import Json, as_dict, print_json, run

if TYPE_CHECKING:
    from ..authstate.encrypted import EncryptedAuthState, RekeyedAuthState


def keygen(
    file: Annotated[Path, typer.Argument(help="The new file; one that is there stays as it is.")],
) -> None:
    """Make a key for encrypted auth states, into FILE (0600)."""
    from .._files import sync_dir, sync_file  # noqa: PLC0415 - needed by this command alone
    from ..authstate.encrypted import new_key  # noqa: PLC0415 - as above
    from ..backup._io import write_private  # noqa: PLC0415 - as above

    try:
        write_private(file, f"{new_key()}\n".encode())
        sync_file(file)
        sync_dir(file.absolute().parent)
    except FileExistsError:
        raise ConfigurationError(f"{file} is there already, and may be the only key to a login: name a new file") from None
    except OSError as error:
        raise ConfigurationError(f"cannot write {file}: {error.strerror}; name a new file in a folder that is there") from error
    typer.echo(f"The key is in {file}. Keep a copy elsewhere: without it no login that it encrypts can be read.", err=True)


def rekey(
    target: Target,
    key_file: Annotated[
        Path,
        typer.Option(envvar="WWAUTH_AUTHSTATE_KEY_FILE", metavar="FILE", help="The new key, then older ones, one a line."),
    ],
    session: SessionName = None,
    *,
    allow_plaintext: Annotated[bool, typer.Option("--allow-plaintext", help="Encrypt what is not, too.")] = False,
    json: Json = False,
) -> None:
    """
    Encrypt everything in WHERE with the first key of FILE; interrupted, it goes on when it is called again.

    Refused while a program of wwauth's has a session.
    """
    run(_rekey(target, key_file, session, allow_plaintext=allow_plaintext, json=json))


async def _rekey(target: str, key_file: Path, session: str | None, *, allow_plaintext: bool, json: bool) -> bool:
    from ..authstate.encrypted import rekey as rekey_it  # noqa: PLC0415 - as above

    done: list[RekeyedAuthState] = []
    async with opened_auth_state(target, key_file, allow_plaintext=allow_plaintext) as store:
        for name in await sessions_of(store, target, session):
            report = await rekey_it(cast("EncryptedAuthState", store), name)
            done.append(report)
            if not json:
                typer.echo(f"{name}: {report.changed} of {report.records} records were encrypted anew")
    if json:
        print_json(list(map(as_dict, done)))
    return True
