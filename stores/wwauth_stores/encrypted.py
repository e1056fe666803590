"""Encryption before any store."""

from __future__ import annotations

import io
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from wwauth._age import load_identities, load_recipients
from wwauth._disk import check_path, store_errors
from wwauth._files import PRIVATE_FILE
from wwauth._names import check_session_name
from wwauth._store import check_store, list_stored, takes_fence
from wwauth._threads import Stop, in_thread
from wwauth.abc import Lease, SessionInfo, Store, StoreFeatures
from wwauth.errors import ConfigurationError, DecryptionFailed, StoreError, StoreUnavailable

from ._cipher import decrypt, encrypt
from ._local import check_target, new_private, new_target, open_source, read_source
from ._transfer import private_folder

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from pathlib import Path

__all__ = ["EncryptedStore"]


class EncryptedStore(Store):
    """
    Encrypts archives before another store keeps them, in the format of age, which `age -d` decrypts.

    An archive is encrypted for all `recipients` (public keys) and read with any of `identities` (secret keys). Each is a
    list of keys as text (`age1…`, `AGE-SECRET-KEY-1…`), of paths of key files (those of `wwauth keygen` and age-keygen, SSH
    keys; an identity file among the recipients stands for its public keys), or of pyrage's objects. One identity at least
    has to fit the recipients: what is saved must be readable again. Passphrases are not supported.

    What is stored and is not encrypted, or not for these keys, is refused with `DecryptionFailed`. age does not tell
    who encrypted an archive: docs/encryption.md says what is protected and what is not.

    The encrypted archive lies in a hidden 0700 folder in `work_dir`, or beside the archive that a call names, while it is
    on its way. The inner store belongs to its giver, who closes it.

    Raises:
        ConfigurationError: `inner` is no store, or a key is wrong, or no identity fits. No secret is in the message.
        MissingDependency: pyrage is not installed.
    """

    def __init__(
        self,
        inner: Store,
        *,
        recipients: Iterable[str | os.PathLike[str] | Any],
        identities: Iterable[str | os.PathLike[str] | Any],
        work_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        check_store(inner, needed_by="EncryptedStore")
        # First of all, so that it has a repr also in a traceback.
        self._inner = inner
        self._recipients: list[Any] = []
        self._identities, problem = load_identities(identities)
        # So that no traceback shows it among this frame's variables.
        del identities
        if problem is None:
            self._recipients, self._public_keys, problem = load_recipients(recipients)
        del recipients
        if problem is not None:
            raise ConfigurationError(problem)
        _check_fit(self._recipients, self._identities)
        self._work_dir = (
            None if work_dir is None else check_path(work_dir, what="the folder for archives on their way").absolute()
        )
        self.features = replace(getattr(inner, "features", StoreFeatures()), encrypted=True)  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"EncryptedStore({self._inner!r}, <{len(self._recipients)} recipients, {len(self._identities)} identities>)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("an EncryptedStore holds secret keys and cannot be pickled or copied: make one where it is needed")

    @property
    def inner(self) -> Store:
        """The store that keeps the encrypted archives."""
        return self._inner

    @property
    def recipients(self) -> tuple[str, ...]:
        """The public keys as text, sorted; a key object that does not tell its text stands there by its kind."""
        return self._public_keys

    async def session_exists(self, *, session: str) -> bool:
        """Tell whether an archive is stored under this name; it is not decrypted."""
        return await self._inner.session_exists(session=check_session_name(session))

    async def save(self, *, session: str, path: str | os.PathLike[str], fence: int | None = None) -> None:
        """
        Encrypt the archive that lies at `path` and store it, all or nothing; `fence` is the inner store's.

        Raises:
            ConfigurationError: `path` is no file that can be read.
            StoreError: It could not be encrypted, or the inner store did not take it.
        """
        name = check_session_name(session)
        source_path = check_path(path, what="the archive to save")

        def check() -> None:
            with open_source(source_path):
                pass

        async with self._on_its_way(name, source_path.parent, check) as cipher:

            def write(stop: Stop) -> None:
                with open_source(source_path) as source, store_errors(f"write {cipher}"), new_private(cipher) as target:
                    encrypt(read_source(source, stop.check), target, self._recipients)

            await in_thread(write)
            await self._inner.save(session=name, path=cipher, **self._given(fence))

    async def extract(self, *, session: str, path: str | os.PathLike[str]) -> None:
        """
        Write the stored archive, decrypted, to the new file `path`; it appears there whole and authentic, or not at all.

        Raises:
            SessionNotFound: There is none.
            DecryptionFailed: It is not encrypted, or for other keys, or damaged, or cut off; the message says which.
            ConfigurationError: The folder of `path` is not there.
            StoreError: The inner store did not give it, or `path` could not be written.
        """
        name = check_session_name(session)
        target = check_path(path, what="the file to write")
        async with self._on_its_way(name, target.parent, lambda: check_target(target)) as cipher:
            await self._inner.extract(session=name, path=cipher)

            def read(stop: Stop) -> None:
                if not cipher.is_file():
                    raise StoreUnavailable(f"{type(self._inner).__name__}.extract({name!r}) wrote no archive")
                with store_errors(f"read {cipher}"):
                    cipher.chmod(PRIVATE_FILE)
                with open_source(cipher) as source, new_target(target) as temporary, new_private(temporary) as file:
                    size = cipher.stat().st_size
                    decrypt(read_source(source, stop.check), size, file, self._identities, name=f"the stored session {name!r}")

            await in_thread(read)

    async def delete(self, *, session: str, fence: int | None = None) -> None:
        """Delete the archive; a name that is not there is no error. `fence` is the inner store's."""
        await self._inner.delete(session=check_session_name(session), **self._given(fence))

    def list_sessions(self, *, prefix: str = "", packs: bool = False) -> AsyncIterator[SessionInfo]:
        """Iterate over what the inner store keeps, with the sizes of the encrypted archives."""
        if not self.features.listing:
            raise ConfigurationError(f"{type(self._inner).__name__} cannot list its sessions (prefix {prefix!r})")
        return list_stored(self._inner, prefix=prefix, packs=packs)

    def lease(self, *, session: str, holder: str, ttl: float) -> Lease:
        """Return the inner store's lease."""
        if not self.features.leases:
            raise ConfigurationError(f"{type(self._inner).__name__} has no leases (session {session!r})")
        return self._inner.lease(session=check_session_name(session), holder=holder, ttl=ttl)

    def _given(self, fence: int | None) -> dict[str, Any]:
        # Only stores with leases know the word.
        return {} if fence is None or not takes_fence(self._inner) else {"fence": fence}

    @asynccontextmanager
    async def _on_its_way(self, session: str, beside: Path, check: Callable[[], None]) -> AsyncIterator[Path]:
        """Yield the path of a new encrypted archive, in a folder of its own that is deleted at the end."""
        cure = " (work_dir= names another place)"
        async with private_folder(self._work_dir or beside, f"{session}.age", check=check, cure=cure) as folder:
            yield folder / "archive.age"


class _Bytes:
    """Stands for a file, where a few bytes do not need one."""

    def __init__(self) -> None:
        self._kept = io.BytesIO()
        self.size = 0

    def write(self, data: bytes, /) -> int:
        self.size += len(data)
        return self._kept.write(data)

    def chunks(self) -> Iterator[bytes]:
        return iter([self._kept.getvalue()])


def _check_fit(recipients: list[Any], identities: list[Any]) -> None:
    """Encrypt a little and decrypt it again: the only test that works for keys of every kind."""
    sealed = _Bytes()
    try:
        encrypt(iter([b"wwauth"]), sealed, recipients)
        decrypt(sealed.chunks(), sealed.size, _Bytes(), identities, name="a test")
    except StoreError as exc:
        raise ConfigurationError(f"nothing can be encrypted for these recipients: {exc}") from exc
    except DecryptionFailed:
        raise ConfigurationError(
            f"none of the {len(identities)} identities fits a recipient, so what is saved could never be read: add the "
            f"identity of one of {len(recipients)} recipients, or its public key to the recipients"
        ) from None
