"""The file of an in-memory store: the one of Baileys' guide, replaced whole, with the last good copy beside it."""

from __future__ import annotations

import json
import logging
import re
import shutil
from binascii import a2b_base64
from typing import TYPE_CHECKING, Any, NoReturn

from .._disk import store_errors
from .._files import make_private_dir, private_opener, replacing, sync_dir, temporary_sibling, unused_name
from ..errors import ConfigurationError, SessionCorrupted
from .bufferjson import BufferJSON

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from .._threads import Stop

_log = logging.getLogger(__name__)

# Bytes as BufferJSON writes them. Within a text every quotation mark has a backslash before it, so that this is never text.
_BYTES = re.compile(r'\{"type":"Buffer","data":"([A-Za-z0-9+/=]*)"\}')

Content = dict[str, list[tuple[Any, Any]]]


class StoreFile:
    """
    One file, `{"chats":[[id, chat],…],"contacts":[…],"messages":[…]}`, and `<file>.bak` beside it.

    It is written as `JSON.stringify` writes it, bytes as `{"type":"Buffer","data":[1,2,3]}`; what was read from there and did
    not change is written with the same bytes. It is read in that form, in BufferJSON's, and with objects or plain lists in
    place of the lists of entries, as older stores wrote them. All methods block.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._good: object = None

    @property
    def backup(self) -> Path:
        """Where the copy before the last one is."""
        return self.path.with_name(f"{self.path.name}.bak")

    def read(self) -> Mapping[str, Any]:
        """
        Return what is kept, nothing where there is no file.

        What cannot be read is kept aside as `<file>.torn`, and the backup takes its place.

        Raises:
            StoreDenied, StoreUnavailable: The file is there, and is not to be had.
        """
        with store_errors(f"read {self.path}"):
            try:
                before = self._identity()
                content = _parsed(self.path.read_bytes())
            except FileNotFoundError:
                return {}
            except SessionCorrupted as error:
                return self._recovered(error)
            self._good = before
            return content

    def write(self, content: Content, more: Mapping[str, Any], stop: Stop) -> None:
        """
        Replace the file, durably and 0600, with entries and with what `more` there was; the one before becomes the backup.

        Raises:
            StoreFull, StoreDenied, StoreUnavailable: The old file stands.
        """
        with store_errors(f"save {self.path}"):
            if not self.path.parent.is_dir():
                make_private_dir(self.path.parent)
            with replacing(self.path) as temporary:
                with open(temporary, "xb", opener=private_opener) as file:
                    file.writelines(_pieces(content, more, stop))
                self._keep_old()
            self._good = self._identity()

    def _keep_old(self) -> None:
        """Make what is about to be replaced the backup; what another program left there may be torn."""
        now = self._identity()
        if now is None:
            return
        if now != self._good:
            try:
                _parsed(self.path.read_bytes())
            except SessionCorrupted:
                self._link(self.path, self._aside())
                return
        self._link(self.path, self.backup)

    def _aside(self) -> Path:
        return unused_name(self.path.with_name(f"{self.path.name}.torn"))

    def _recovered(self, error: SessionCorrupted) -> Mapping[str, Any]:
        """Return the backup's content, after the torn file was put aside and the backup in its place."""
        aside = self._aside()
        try:
            content = _parsed(self.backup.read_bytes())
        except (FileNotFoundError, SessionCorrupted):
            self.path.rename(aside)
            sync_dir(self.path.parent)
            _log.warning("%s is no store (%s), and there is no good copy: it is kept as %s", self.path, error, aside.name)
            return {}
        self._link(self.path, aside)
        self._link(self.backup, self.path)
        sync_dir(self.path.parent)
        self._good = self._identity()
        _log.warning("%s is no store (%s): it is kept as %s, and its last good copy is used", self.path, error, aside.name)
        return content

    def _link(self, source: Path, target: Path) -> None:
        """Give a file a second name, in place of what has that name."""
        temporary = temporary_sibling(target)
        try:
            try:
                temporary.hardlink_to(source)
            except OSError:
                # As on file systems without links; a full disk fails here, too, and says so.
                with source.open("rb") as old, open(temporary, "xb", opener=private_opener) as new:
                    shutil.copyfileobj(old, new)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def _identity(self) -> object:
        try:
            info = self.path.stat()
        except FileNotFoundError:
            return None
        return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns


def _pieces(content: Content, more: Mapping[str, Any], stop: Stop) -> Iterable[bytes]:
    """Yield the file's bytes, an entry at a time: neither the memory nor the interpreter is held for all of it at once."""
    before = "{"
    for name, entries in content.items():
        yield f"{before}{BufferJSON.dumps(name)}:[".encode()
        for number, entry in enumerate(entries):
            stop.check()
            try:
                text = _text(entry)
            except ConfigurationError as error:
                raise ConfigurationError(f"the entry {entry[0]!r:.60} of {name} cannot be saved: {error}") from None
            yield f"{',' if number else ''}{text}".encode()
        yield b"]"
        before = ","
    for name, value in more.items():
        yield f",{BufferJSON.dumps(name)}:{_text(value)}".encode()
    yield b"}"


def _text(value: object) -> str:
    return _BYTES.sub(_as_numbers, BufferJSON.dumps(value))


def _as_numbers(match: re.Match[str]) -> str:
    return f'{{"type":"Buffer","data":[{",".join(map(str, a2b_base64(match[1])))}]}}'


def _parsed(text: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(text.decode(), object_hook=_revived, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        # Not raised from it: it has the text, and that is people's messages.
        raise SessionCorrupted(f"not JSON: {type(error).__name__}, {len(text)} bytes") from None
    if not isinstance(content, dict):
        raise SessionCorrupted("no object")
    return content


def _revived(value: dict[str, Any]) -> Any:
    """
    Return bytes where an object is the JSON form of bytes and nothing else.

    A Uint8Array, `{"0":1,…}`, stays an object: it cannot be told from one, and would not be written as it was.
    """
    return BufferJSON.object_hook(value) if value.keys() == {"type", "data"} else value


def _refuse(_: str) -> NoReturn:
    raise ValueError
