"""
A small journal in Baileys' folder, which Baileys ignores: one flush to the disk makes a batch of files durable.

A batch is appended as one line and flushed; its files follow by rename, without a flush each. What a crash prevented is made
good at the next opening. Baileys may have worked in the folder meanwhile, so a file is only touched while it holds what the
journal knows of: what was there before a batch, or what one of them wrote.

Everything here blocks; call it from a thread.
"""

from __future__ import annotations

import json
import logging
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from .._files import PRIVATE_FILE, replacing, sync_dir, sync_file
from ..abc import CREDS
from ._streams import digest
from .names import file_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_log = logging.getLogger(__name__)

NAME = ".wwauth-journal"

_CREDS_FILE = file_name(CREDS)

# A byte of its own at the head of each line, overwritten in place when the line's files are there.
_PENDING, _DONE = b"-", b"+"

# The files are flushed, and the journal begun anew, when it has grown to this.
_FULL = 4 * 1024 * 1024


class Journal:
    """The journal of one folder, for its one holder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / NAME
        self._fd: int | None = None
        self._end = 0
        self._line = 0
        self._dirty: set[str] = set()
        # What each file was given last, so that it need not be read again before it is replaced.
        self._digests: dict[str, str | None] = {}

    def open(self) -> list[str]:
        """Make good what a crash left undone and begin anew; return the names of the files that were mended."""
        mended = self._replay()
        if self._fd is None:
            # In bytes: Windows would make two of each end of a line.
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
            self._fd = os.open(self._path, flags, PRIVATE_FILE)
            try:
                # The journal's own name is to be there with what is flushed into it.
                sync_dir(self._folder)
                self._begin_anew()
            except BaseException:
                os.close(self._fd)
                self._fd = None
                raise
        else:
            self._begin_anew()
        return mended

    def append(self, files: Mapping[str, bytes | None]) -> None:
        """
        Make a batch durable: from here on it happened, whatever comes.

        Raises:
            OSError: It could not be written, and did not happen.
        """
        if not self._end:
            self._write_header()
        batch = {name: [self._before(name), None if data is None else data.decode()] for name, data in files.items()}
        body = json.dumps(batch, separators=(",", ":")).encode()
        line = _PENDING + b" %08x " % zlib.crc32(body) + body + b"\n"
        try:
            _write_all(self._file, line, self._end)
            _flush(self._file)
        except OSError:
            os.ftruncate(self._file, self._end)
            raise
        self._line = self._end
        self._end += len(line)
        self._dirty.update(files)
        for name, data in files.items():
            self.note(name, data)

    def applied(self) -> None:
        """Note that the files of the last batch are there."""
        _write_all(self._file, _DONE, self._line)
        if self._end > _FULL:
            self.checkpoint()

    def note(self, name: str, data: bytes | None) -> None:
        """Take note of what a file holds that was written past the journal."""
        self._digests[name] = None if data is None else digest(data)

    def is_behind(self, name: str) -> bool:
        """Tell whether the journal has a file that may not be on the disk as it stands in the folder."""
        return name in self._dirty

    def checkpoint(self) -> None:
        """Flush the files to the disk, and then forget how they came to be."""
        if not self._dirty:
            return
        for name in self._dirty:
            try:
                sync_file(self._folder / name)
            except FileNotFoundError:
                continue  # a batch deleted it
        sync_dir(self._folder)
        self._dirty.clear()
        # They are read again when they are next replaced; else all names that ever were would stay.
        self._digests.clear()
        self._empty()

    def discard(self) -> None:
        """Forget everything: the login is being deleted."""
        self._dirty.clear()
        self._digests.clear()
        if self._fd is None:
            self._path.unlink(missing_ok=True)
        else:
            self._empty()

    def close(self) -> None:
        """Bring everything to the disk and end; the journal is deleted, since nothing is left to be made good."""
        if self._fd is None:
            return
        try:
            self.checkpoint()
            self._path.unlink(missing_ok=True)
        finally:
            os.close(self._fd)
            self._fd = None

    @property
    def _file(self) -> int:
        if self._fd is None:
            raise ValueError("the journal is not open")
        return self._fd

    def _begin_anew(self) -> None:
        # A process that died has flushed none of its files.
        self.checkpoint()
        if self._path.stat().st_size:
            self._empty()

    def _empty(self) -> None:
        os.ftruncate(self._file, 0)
        os.fsync(self._file)
        self._end = 0

    def _write_header(self) -> None:
        header = json.dumps({"wwauth-journal": 1, "boot": _boot()}).encode() + b"\n"
        _write_all(self._file, header, 0)
        self._end = len(header)

    def _before(self, name: str) -> str | None:
        if name not in self._digests:
            data = _read(self._folder / name)
            self.note(name, data)
        return self._digests[name]

    def _replay(self) -> list[str]:
        found = _read(self._path)
        if not found:
            return []
        known: dict[str, set[str | None]] = {}
        wanted: dict[str, bytes | None] = {}
        header, *lines = found.split(b"\n")
        boot = _boot_in(header)
        if boot is None:
            return []
        # A process that dies takes no file with it that was renamed; a machine may.
        survived = boot == _boot() != ""
        for done, batch in _batches(lines):
            pending = not (done and survived)
            self._dirty.update(batch)
            for name, (before, text) in batch.items():
                data = None if text is None else text.encode()
                now = None if data is None else digest(data)
                if survived:
                    # All batches but the last one were there: a file is as that one found it.
                    known[name] = {before, now}
                else:
                    # Also what was there before a later batch: credentials that are saved alone are in no line. And a machine
                    # may take a file with it that was new on its disk.
                    known.setdefault(name, {None}).update({before, now})
                if pending:
                    wanted[name] = data
                else:
                    wanted.pop(name, None)
        return [name for name, data in wanted.items() if self._mend(name, data, known[name])]

    def _mend(self, name: str, data: bytes | None, known: set[str | None]) -> bool:
        path = self._folder / name
        there = _read(path)
        if there == data:
            return False
        # Credentials are flushed before they get their place: whoever tore them, no crash of the machine did. And nobody
        # deletes them alone, but Baileys does so with a key that was used.
        if there is None:
            changed = None not in known and name != _CREDS_FILE
        else:
            changed = digest(there) not in known and (name == _CREDS_FILE or _is_whole(there))
        if changed:
            _log.info("%s was changed by another program after a crash, and is left as it is", path)
            return False
        if data is None:
            path.unlink(missing_ok=True)
        else:
            # The others are flushed before the journal is emptied.
            with replacing(path, durable=name == _CREDS_FILE) as temporary:
                temporary.write_bytes(data)
        return True


def _batches(lines: list[bytes]) -> Iterator[tuple[bool, dict[str, list[str | None]]]]:
    """Yield the batches that were written whole, and whether their files were in their places."""
    for line in lines:
        body = line[11:]
        if not body or line[:11] not in {mark + b" %08x " % zlib.crc32(body) for mark in (_PENDING, _DONE)}:
            return
        yield line.startswith(_DONE), json.loads(body)


def _boot_in(header: bytes) -> str | None:
    try:
        return str(json.loads(header)["boot"])
    except (ValueError, KeyError, TypeError):
        return None


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _is_whole(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


def _write_all(fd: int, data: bytes, offset: int) -> None:
    os.lseek(fd, offset, os.SEEK_SET)
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def _flush(fd: int) -> None:
    # macOS and Windows have no fdatasync; the journal's length is part of what it flushes.
    getattr(os, "fdatasync", os.fsync)(fd)
