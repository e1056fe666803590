"""`wwauth keygen`: a new key for an EncryptedStore."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConfigurationError


def keygen(
    file: Annotated[Path, typer.Argument(help="Where the secret key goes; a file that is there stays as it is.")] = Path(
        "wwauth.key"
    ),
) -> None:
    """Make a key for encrypted backups, in the format of age-keygen: the secret one into FILE, the public one to stdout."""
    from .._age import new_identity  # noqa: PLC0415 - pyrage is needed by this command alone
    from .._files import sync_dir, sync_file  # noqa: PLC0415 - as above
    from ..backup._io import create_private, write_all  # noqa: PLC0415 - as above

    text, public = new_identity()
    made = False
    try:
        # Refuses what is there, also a link that leads nowhere.
        with create_private(file) as out:
            made = True
            write_all(out, text.encode())
        sync_file(file)
        sync_dir(file.absolute().parent)
    except FileExistsError:
        raise ConfigurationError(f"{file} is there already, and may be the only key to a backup: name a new file") from None
    except OSError as exc:
        if made:
            file.unlink(missing_ok=True)
        raise ConfigurationError(f"cannot write {file}: {exc.strerror}; name a new file in a folder that is there") from exc
    typer.echo(public)
    typer.echo(f"The secret key is in {file}. Keep a copy elsewhere: without it no backup can be read.", err=True)
