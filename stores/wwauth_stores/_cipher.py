"""
Encryption and decryption of one archive in age's format, streamed.

pyrage holds the interpreter while it works, and gives way only in the Python code that it calls for each piece: so it gets
readers and writers written in Python, never a file or a BytesIO. Everything here blocks; call it from a thread.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

import pyrage

from wwauth.errors import DecryptionFailed, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_MAGIC = b"age-encryption.org/v1\n"
_ARMOR = b"-----BEGIN AGE ENCRYPTED FILE-----"

# The time to read a header grows with the square of its length: 16 s for 600 kB. A recipient takes 100 to 800 bytes of it.
_MAX_HEADER = 32 * 1024
_STANZA = re.compile(rb"^-> (\S+)", re.MULTILINE)

# age encrypts pieces of 64 KiB, each with a tag, behind a nonce.
_PIECE, _TAG, _NONCE = 64 * 1024, 16, 16


class Target(Protocol):
    """Where bytes go, such as a `PrivateFile`."""

    size: int

    def write(self, data: bytes, /) -> int:
        """Take all of `data`."""


class _Reader:
    """Hands out bytes, and remembers what went wrong: pyrage turns every exception into one of its own."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._chunk = memoryview(b"")
        self.size = 0
        self.failed: BaseException | None = None

    def read(self, size: int = -1, /) -> bytes:
        try:
            while not self._chunk and (chunk := next(self._chunks, b"")):
                self._chunk = memoryview(chunk)
        except BaseException as exc:
            self.failed = exc
            raise
        end = size if size >= 0 else len(self._chunk)
        data, self._chunk = self._chunk[:end].tobytes(), self._chunk[end:]
        self.size += len(data)
        return data


class _Writer:
    """Takes bytes, and remembers what went wrong: pyrage forgets the failure of its last write."""

    def __init__(self, write: Callable[[bytes], int]) -> None:
        self._write = write
        self.failed: BaseException | None = None

    def write(self, data: bytes, /) -> int:
        if self.failed is not None:
            raise self.failed
        try:
            return self._write(data)
        except BaseException as exc:
            self.failed = exc
            raise

    def flush(self) -> None:
        """Do nothing: what is written is on its way at once."""


def encrypt(chunks: Iterator[bytes], target: Target, recipients: Sequence[Any]) -> None:
    """
    Encrypt `chunks` to `target`.

    Raises:
        StoreError: pyrage failed, or did not write all of it, or there are too many recipients.
    """
    reader, head = _Reader(chunks), bytearray()

    def write(data: bytes) -> int:
        if len(head) < _MAX_HEADER:
            head.extend(data[:_MAX_HEADER])
        return target.write(data)

    try:
        _run(pyrage.encrypt_io, reader, _Writer(write), recipients)
    except pyrage.EncryptError as exc:
        raise StoreError(f"the archive could not be encrypted: {exc}") from exc
    length = _header_length(bytes(head[:_MAX_HEADER]))
    if length is None:
        raise StoreError(f"{len(recipients)} recipients are too many: they take more than {_MAX_HEADER} bytes")
    pieces = max(1, -(-reader.size // _PIECE))
    expected = length + _NONCE + reader.size + pieces * _TAG
    if target.size != expected:
        raise StoreError(f"the archive was not encrypted whole: {target.size} bytes in place of {expected}")


def decrypt(chunks: Iterator[bytes], size: int, target: Target, identities: Sequence[Any], *, name: str) -> None:
    """
    Decrypt `chunks`, `size` bytes together, to `target`; the caller throws away what was written when this raises.

    Raises:
        DecryptionFailed: It is not encrypted, or for other keys, or damaged, or not whole; `name` says what it is.
    """
    head = b""
    while len(head) < _MAX_HEADER and (chunk := next(chunks, b"")):
        head += chunk
    _check_header(head[:_MAX_HEADER], name, whole=len(head) == size)

    def all_chunks() -> Iterator[bytes]:
        yield head
        yield from chunks

    reader = _Reader(all_chunks())
    try:
        _run(pyrage.decrypt_io, reader, _Writer(target.write), identities)
    except pyrage.DecryptError as exc:
        if "matching keys" in str(exc):
            raise DecryptionFailed(
                f"{name} is encrypted for other keys than the {len(identities)} given as identities: add the one that "
                f"belongs to it (or its header is damaged)"
            ) from exc
        raise DecryptionFailed(f"{name} is damaged in its header ({exc}): restore an older backup") from exc
    except OSError as exc:
        # Raised by pyrage: what reading and writing raised has been raised as it was.
        if reader.size == size:
            raise DecryptionFailed(
                f"{name} is cut off, or damaged in its last {_PIECE // 1024} KiB: restore an older backup"
            ) from exc
        raise DecryptionFailed(f"{name} is damaged before byte {reader.size} of {size}: restore an older backup") from exc


def _run(call: Callable[..., object], reader: _Reader, writer: _Writer, keys: Sequence[Any]) -> None:
    try:
        call(reader, writer, keys)
    finally:
        if (failed := reader.failed or writer.failed) is not None:
            raise failed from None


def _check_header(head: bytes, name: str, *, whole: bool) -> None:
    """Tell what is no age file, or for no key of ours, before pyrage reads it; `whole`: there is nothing behind `head`."""
    if not head:
        raise DecryptionFailed(f"{name} is empty: restore an older backup")
    if head.startswith(_ARMOR):
        raise DecryptionFailed(f"{name} is in age's text form: store it in the binary one, encrypted without --armor")
    if not head.startswith(_MAGIC):
        if _MAGIC.startswith(head):
            raise _cut_off(name)
        if head.startswith(b"age-encryption.org/"):
            raise DecryptionFailed(f"{name} is damaged in its first line, or of another version of age")
        doubt = "" if head.startswith(b"PK") else " (or damaged in its first bytes)"
        raise DecryptionFailed(
            f"{name} is not encrypted{doubt}, so whoever can write to the store may have put it there: if you trust it, "
            f"extract it from the inner store and save it through the EncryptedStore"
        )
    length = _header_length(head)
    if length is None:
        if whole and len(head) < _MAX_HEADER:
            raise _cut_off(name)
        raise DecryptionFailed(f"{name} is damaged: its header does not end within {_MAX_HEADER} bytes")
    if whole and len(head) < length + _NONCE + _TAG:
        raise _cut_off(name)
    if b"scrypt" in _STANZA.findall(head[:length]):
        raise DecryptionFailed(f"{name} is encrypted with a passphrase: encrypt it for a public key")


def _cut_off(name: str) -> DecryptionFailed:
    return DecryptionFailed(f"{name} is cut off near its beginning: restore an older backup")


def _header_length(head: bytes) -> int | None:
    """Return where the payload begins, None when that is not within `head`."""
    mac = head.find(b"\n--- ")
    end = -1 if mac < 0 else head.find(b"\n", mac + 1)
    return None if end < 0 else end + 1
