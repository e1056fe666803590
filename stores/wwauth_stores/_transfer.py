"""Archives on their way between a local file and a database: the disk's side in threads, the driver's side awaited."""

from __future__ import annotations

import logging
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from wwauth._disk import check_path, store_errors
from wwauth._files import PRIVATE_DIR, remove_tree, sweep_temporaries, temporary_sibling
from wwauth._threads import in_thread

from ._local import new_private, new_target, open_source, read_source

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import BinaryIO

    from wwauth._threads import Stop

    from ._local import PrivateFile

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

# What a crash left of a transfer is deleted by a later one; no transfer takes so long.
_STALE_AFTER = 24 * 3600.0


@asynccontextmanager
async def reading(path: str | os.PathLike[str]) -> AsyncIterator[AsyncIterator[bytes]]:
    """
    Open the archive that a caller wants saved, and yield an iterator over its chunks, of 1 MiB (`CHUNK`) each but the last.

    Raises:
        ConfigurationError: It is no file that can be read.
        StoreError: It could not be read to its end, or changed meanwhile.
    """
    source_path = check_path(path, what="the archive to save")
    async with entered(open_source(source_path)) as source, aclosing(_chunks(source)) as chunks:
        yield chunks


async def _chunks(source: BinaryIO) -> AsyncGenerator[bytes, None]:
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
    async with entered(_new_archive(target)) as file:

        async def write(data: bytes) -> int:
            return await in_thread(lambda _: file.write(data))

        yield write


@contextmanager
def _new_archive(target: Path) -> Iterator[PrivateFile]:
    with new_target(target) as temporary, new_private(temporary) as file:
        yield file


@asynccontextmanager
async def entered(manager: AbstractContextManager[_T]) -> AsyncIterator[_T]:
    """Enter and leave a context manager in threads; it is left, too, when its caller was cancelled while it was entered."""
    held: list[_T] = []
    try:
        await in_thread(lambda _: held.append(manager.__enter__()))
        yield held[0]
    except BaseException as error:
        if not held or not await in_thread(partial(_leave, manager, error)):
            raise
    else:
        await in_thread(partial(_leave, manager, None))


def _leave(manager: AbstractContextManager[object], error: BaseException | None, _: Stop) -> bool | None:
    return manager.__exit__(None if error is None else type(error), error, None if error is None else error.__traceback__)


@asynccontextmanager
async def private_folder(
    parent: Path, name: str, *, check: Callable[[], None] = lambda: None, cure: str = ""
) -> AsyncIterator[Path]:
    """
    Yield a new hidden 0700 folder in `parent`, which is deleted at the end; what crashes have left of `name` goes, too.

    `check` is called before, in the same thread; `cure` follows the place in the message of what goes wrong.
    """
    folder = temporary_sibling(parent / name)

    def prepare() -> None:
        check()
        try:
            sweep_temporaries(parent, name=name, older_than=_STALE_AFTER)
        except OSError as error:
            _log.warning("cannot delete what a crash left in %s: %s", parent, error)
        with store_errors(f"make a temporary folder in {parent}{cure}"):
            folder.mkdir(mode=PRIVATE_DIR)

    def remove() -> None:
        try:
            remove_tree(folder)
        except OSError as error:
            # What the call did is done; a later call sweeps what is left.
            _log.warning("the temporary %s could not be deleted: %s", folder, error)

    try:
        await in_thread(lambda _: prepare())
        yield folder
    finally:
        await in_thread(lambda _: remove())
