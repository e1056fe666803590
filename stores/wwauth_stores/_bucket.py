"""The objects under one prefix of a bucket: what `ObjectStore` asks of obstore, with time limits and errors that are known."""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import re
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wwauth._threads import in_thread
from wwauth.errors import SessionCorrupted, StoreDenied, StoreError, StoreFull, StoreUnavailable, WWAuthError

from ._transfer import reading, writing

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

# The smallest part that S3 takes; with the parts on their way and one that fills up, three of them are in memory.
_PART = 5 * 1024 * 1024
_PARTS_AT_ONCE = 2

_CHUNK = 1024 * 1024
_LISTED_AT_ONCE = 1000

# For objects that are read whole.
_MAX_SMALL = 64 * 1024

# An upload that failed has its parts deleted at once, as far as that takes no longer.
_ABORT_TIMEOUT = 2.0

# obstore's threads let go of the interpreter a moment after they have answered, and abort the process when it ends before.
_SETTLING = 0.1

_STATUS = re.compile(r"status(?: code)?:? ([1-5][0-9]{2})\b")
_PASSING = {404, 408, 409, 412, 425, 429}
_FULL = ("XMinioStorageFull", "InsufficientStorage", "QuotaExceeded", "quotaExceeded", "(os error 28)", "(os error 122)")
_DENIED = ("AccessDenied", "ExpiredToken", "InvalidToken", "(os error 1)", "(os error 13)", "(os error 30)")

_last_call = 0.0


@atexit.register
def _settle() -> None:
    """Let obstore's threads come to rest: nothing to wait for unless the last call has only just ended."""
    while (rest := _last_call + _SETTLING - time.monotonic()) > 0:
        time.sleep(rest)


class Gone(StoreUnavailable):
    """An object that was there a moment ago is not there any more."""


@dataclass(frozen=True, slots=True)
class Object:
    """What a listing tells of an object; `key` is without the prefix."""

    key: str
    size: int
    modified: datetime


class Bucket:
    """
    Reads, writes, lists and deletes objects under `prefix`.

    Args:
        obstore: The module.
        client: One of its stores; closed by its owner.
        prefix: Stands before each key, with a slash at its end, or is empty.
        place: What it is called in messages.
        step: Bounds each call, and knows the errors; `DriverStore._step`.

    Every method takes `doing`, which completes "cannot" in messages. Each raises the `StoreError` that `step` makes, and
    `StoreUnavailable` when there is no such bucket.
    """

    def __init__(
        self, obstore: Any, client: Any, *, prefix: str, place: str, step: Callable[[str], AbstractAsyncContextManager[None]]
    ) -> None:
        self._obstore = obstore
        self._client = client
        self._prefix = prefix
        self._place = place
        self._step = step
        errors = obstore.exceptions
        self._missing = (FileNotFoundError, errors.NotFoundError)
        self._conflict = (errors.AlreadyExistsError, errors.PreconditionError)

    def forget(self) -> None:
        """Let go of the client; the `step` of whoever closed refuses every call."""
        self._client = None

    async def check(self, doing: str) -> None:
        """Raise `StoreUnavailable` unless the bucket is there: a missing object is no sign of that."""
        async with self._call(doing):
            with suppress(StopAsyncIteration):
                await anext(self._obstore.list(self._client, self._prefix + "sessions", chunk_size=1))

    async def prepare(self, doing: str) -> None:
        """Make ready for writing; raises as `check` does, where that costs nothing."""

    async def read(self, key: str, doing: str) -> tuple[bytes, Any] | None:
        """Return a small object's bytes and its tag, for `replace`; None: there is none."""
        async with self._call(doing):
            try:
                found = await self._obstore.get_async(self._client, self._prefix + key)
                if found.meta["size"] > _MAX_SMALL:
                    raise SessionCorrupted(f"{key} in {self._place} has {found.meta['size']} bytes: it is not wwauth's")
                data = bytes(await found.bytes_async())
            except self._missing:
                return None
            return data, {name: found.meta[name] for name in ("e_tag", "version") if found.meta.get(name) is not None}

    async def replace(self, key: str, data: bytes, tag: Any | None, doing: str) -> bool:
        """Write a small object in place of the one that has this tag, None: of none; False: somebody else was faster."""
        async with self._call(doing):
            try:
                mode = "create" if tag is None else tag
                await self._obstore.put_async(self._client, self._prefix + key, data, mode=mode, use_multipart=False)
            except self._conflict:
                return False
            return True

    async def check_conditions(self, key: str, doing: str) -> None:
        """
        Raise `StoreError` when the server writes without regard to conditions, as some that speak like S3 do.

        Tried with a small object that is there: it is what it was afterwards in any case.
        """
        found = await self.read(key, doing)
        if found is None:
            return
        ignored = await self.replace(key, found[0], None, doing)
        if not ignored and "version" not in found[1]:
            with suppress(StoreError):  # some refuse what cannot be a tag
                ignored = await self.replace(key, found[0], {"e_tag": '"wwauth"'}, doing)
        if ignored:
            raise StoreError(
                f"cannot {doing} in {self._place}: the server does not regard the conditions of a write, so nothing would keep "
                f"two holders apart; use another server, or no lease"
            )

    async def look(self, key: str, doing: str) -> Object | None:
        """Tell what is known of an object; None: there is none."""
        async with self._call(doing):
            try:
                return self._object(await self._obstore.head_async(self._client, self._prefix + key))
            except self._missing:
                return None

    async def remove(self, key: str, doing: str) -> None:
        """Delete an object; one that is not there is no error."""
        async with self._call(doing):
            with suppress(*self._missing):
                await self._obstore.delete_async(self._client, self._prefix + key)

    async def tidy(self, folder: str) -> None:
        """Take away what an empty folder leaves, where there are folders."""

    async def list_under(self, folder: str, doing: str) -> list[Object]:
        """Return what lies in a folder, at any depth."""
        found: list[Object] = []
        stream = None
        while True:
            async with self._call(doing):
                if stream is None:
                    stream = self._obstore.list(self._client, self._prefix + folder, chunk_size=_LISTED_AT_ONCE)
                try:
                    some = await anext(stream)
                except StopAsyncIteration:
                    return found
            found.extend(map(self._object, some))

    async def list_top(self, doing: str) -> list[Object]:
        """Return what lies right under the prefix."""
        async with self._call(doing):
            found = await self._obstore.list_with_delimiter_async(self._client, self._prefix or None)
            return [self._object(meta) for meta in found["objects"]]

    async def upload(self, key: str, path: str | os.PathLike[str], doing: str) -> tuple[int, str]:
        """
        Write the file at `path` to an object, which appears whole at the end, and return its size and SHA-256.

        Raises:
            ConfigurationError: `path` is no file that can be read.
            StoreError: It could not be read to its end, or changed meanwhile.
        """
        size, digest = 0, hashlib.sha256()
        async with reading(path) as chunks:
            async with self._call(doing):
                writer = self._obstore.open_writer_async(
                    self._client, self._prefix + key, buffer_size=_PART, max_concurrency=_PARTS_AT_ONCE
                )
            try:
                async for chunk in chunks:
                    await _hash(digest.update, chunk)
                    size += len(chunk)
                    async with self._call(doing):
                        await writer.write(chunk)
                async with self._call(doing):
                    await writer.close()
            except BaseException:
                with suppress(Exception):  # one that is closed, or a server that does not answer
                    async with asyncio.timeout(_ABORT_TIMEOUT):
                        await writer.__aexit__(Exception, None, None)
                raise
        return size, digest.hexdigest()

    async def download(
        self, key: str, path: str | os.PathLike[str], doing: str, *, size: int | None = None, sha256: str | None = None
    ) -> None:
        """
        Write an object to the new file `path`, whole or not at all.

        Raises:
            Gone: There is none, or it was deleted meanwhile.
            SessionCorrupted: It has another size or digest.
            ConfigurationError: `path` is a folder, or the folder that it should lie in is not there.
            StoreError: `path` cannot be written.
        """
        got, digest = 0, hashlib.sha256()
        async with writing(path) as write:
            async with self._here(key, doing):
                found = await self._obstore.get_async(self._client, self._prefix + key)
            size = found.meta["size"] if size is None else size
            stream = found.stream(min_chunk_size=_CHUNK)
            while (chunk := await self._next(stream, key, doing)) is not None:
                got += len(chunk)
                await _hash(digest.update, chunk)
                await write(chunk)
            if got != size or sha256 not in {None, digest.hexdigest()}:
                what = f"{got} of {size} bytes" if got != size else "other bytes than were saved"
                raise SessionCorrupted(f"{key} in {self._place} is damaged ({what}): restore an older backup")

    async def _next(self, stream: Any, key: str, doing: str) -> bytes | None:
        async with self._here(key, doing):
            try:
                return bytes(await anext(stream))
            except StopAsyncIteration:
                return None

    @asynccontextmanager
    async def _here(self, key: str, doing: str) -> AsyncIterator[None]:
        async with self._call(doing):
            try:
                yield
            except self._missing as error:
                raise Gone(f"cannot {doing} in {self._place}: {key} is not there any more; try again") from error

    @asynccontextmanager
    async def _call(self, doing: str) -> AsyncIterator[None]:
        global _last_call  # noqa: PLW0603 - the threads are the process's
        try:
            async with self._step(doing):
                try:
                    yield
                except WWAuthError:
                    raise
                except Exception as error:
                    # For listings obstore has no such kind of error.
                    if isinstance(error, self._missing) or status_of(error) == 404:
                        raise StoreUnavailable(
                            f"cannot {doing} in {self._place}: there is no such bucket; make it, or mend its name"
                        ) from error
                    raise
        finally:
            _last_call = time.monotonic()

    def _object(self, meta: Any) -> Object:
        return Object(meta["path"].removeprefix(self._prefix), meta["size"], meta["last_modified"])


async def _hash(update: Callable[[bytes], None], chunk: bytes) -> None:
    await in_thread(lambda _: update(chunk))


def meaning(obstore: Any, error: Exception) -> type[StoreError]:
    """Return which `StoreError` an error of obstore stands for; those of an upload's end are OSErrors that have its text."""
    errors, status, text = obstore.exceptions, status_of(error), str(error)
    if status == 507 or any(word in text for word in _FULL):
        return StoreFull
    denied = isinstance(error, errors.PermissionDeniedError | errors.UnauthenticatedError) or status in {401, 403}
    if denied or any(word in text for word in _DENIED):
        return StoreDenied
    refused = status is not None and 400 <= status < 500 and status not in _PASSING
    if refused or isinstance(error, errors.NotSupportedError | errors.InvalidPathError | NotImplementedError | ValueError):
        return StoreError
    return StoreUnavailable


def status_of(error: Exception) -> int | None:
    """Return the HTTP status that obstore names in the text of an error, or None."""
    found = _STATUS.search(str(error))
    return None if found is None else int(found[1])
