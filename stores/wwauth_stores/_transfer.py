"""Archives on their way between a local file and a database: the disk's side in threads, the driver's side awaited."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, TypeVar

from wwauth._threads import in_thread

from ._local import check_path, new_private, new_target, open_source, read_source

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import BinaryIO

    from ._local import PrivateFile

_T = TypeVar("_T")


@asynccontextmanager
async def reading(path: str | os.PathLike[str]) -> AsyncIterator[AsyncIterator[bytes]]:
    """
    Open the archive that a caller wants saved, and yield an iterator over its chunks, of 1 MiB (`CHUNK`) each but the last.

    Raises:
        ConfigurationError: It is no file that can be read.
        StoreError: It could not be read to its end, or changed meanwhile.
    """
    source_path = check_path(path, what="the archive to save")
    async with _entered(open_source(source_path)) as source:
        yield _chunks(source)


async def _chunks(source: BinaryIO) -> AsyncIterator[bytes]:
    chunks = read_source(source, lambda: None)
    while chunk := await in_thread(lambda _: next(chunks, b"")):
        yield chunk


@asynccontextmanager
async def writing(path: str | os.PathLike[str]) -> AsyncIterator[Callable[[bytes], Awaitable[int]]]:
    """
    Yield a coroutine function that writes chunks to the new file `path`; it appears there whole at the end, or not at all.

    Raises:
        ConfigurationError: `path` is a folder, or the folder that it should lie in is not there.
        StoreError: It cannot be written; the message names the place.
    """
    target = check_path(path, what="the file to write")
    async with _entered(_new_archive(target)) as file:

        async def write(data: bytes) -> int:
            return await in_thread(lambda _: file.write(data))

        yield write


@contextmanager
def _new_archive(target: Path) -> Iterator[PrivateFile]:
    with new_target(target) as temporary, new_private(temporary) as file:
        yield file


@asynccontextmanager
async def _entered(manager: AbstractContextManager[_T]) -> AsyncIterator[_T]:
    """Enter and leave a context manager in threads; it is left, too, when its caller was cancelled while it was entered."""
    entered: list[_T] = []
    try:
        await in_thread(lambda _: entered.append(manager.__enter__()))
        yield entered[0]
    except BaseException:
        kind, error, trace = sys.exc_info()
        if not entered or not await in_thread(lambda _: manager.__exit__(kind, error, trace)):
            raise
    else:
        await in_thread(lambda _: manager.__exit__(None, None, None))
