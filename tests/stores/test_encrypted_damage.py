"""What is stored and cannot be trusted: each kind is refused with its own sentence, and nothing is left where it was wanted."""

from __future__ import annotations

import asyncio
import io
import random
import shutil
import tempfile
from pathlib import Path

import pyrage
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyrage import x25519

from wwauth.errors import DecryptionFailed
from wwauth.stores import EncryptedStore, FileSystemStore, MemoryStore

KEY, OTHER = x25519.Identity.generate(), x25519.Identity.generate()
PLAIN = random.Random(1).randbytes(3 * 65536 + 100)


def sealed(plain: bytes = PLAIN, *, recipients: list[object] | None = None, armored: bool = False) -> bytes:
    out = io.BytesIO()
    pyrage.encrypt_io(io.BytesIO(plain), out, recipients or [KEY.to_public()], armored=armored)
    return out.getvalue()


WHOLE = sealed()
PAYLOAD = WHOLE.index(b"\n", WHOLE.index(b"\n--- ") + 1) + 1


def read_back(stored: bytes) -> bytes:
    """Return what a store with this archive in it gives; whatever becomes of it, nothing else lies around."""
    folder = Path(tempfile.mkdtemp(prefix="encrypted-"))
    try:
        (folder / "backups").mkdir(mode=0o700)
        (folder / "backups" / "one.zip").write_bytes(stored)
        store = EncryptedStore(FileSystemStore(folder / "backups"), recipients=[KEY.to_public()], identities=[KEY])
        target = folder / "out" / "out.zip"
        target.parent.mkdir()
        try:
            asyncio.run(store.extract(session="one", path=target))
        except BaseException:
            assert list(target.parent.iterdir()) == []
            raise
        assert list(target.parent.iterdir()) == [target]
        return target.read_bytes()
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("stored", "sentence"),
    [
        (b"PK\3\4" + PLAIN, "is not encrypted, so whoever can write .*: if you trust it, extract it from the inner store"),
        (b"<html>", r"is not encrypted \(or damaged in its first bytes\), so"),
        (b"", "is empty"),
        (sealed(recipients=[OTHER.to_public()]), "is encrypted for other keys than the 1 given as identities"),
        (pyrage.passphrase.encrypt(b"x", "pw"), "is encrypted with a passphrase"),
        (sealed(armored=True), "is in age's text form"),
        (b"age-encryption.org/v2\n" + WHOLE[22:], "is damaged in its first line, or of another version"),
        (WHOLE[:10], "is cut off near its beginning"),
        (WHOLE[: PAYLOAD - 10], "is cut off near its beginning"),
        (WHOLE[: PAYLOAD + 31], "is cut off near its beginning"),
        (WHOLE[: PAYLOAD + 16 + 65552], "is cut off, or damaged in its last 64 KiB"),
        (WHOLE[: PAYLOAD + 100_000], "is cut off, or damaged in its last 64 KiB"),
        (WHOLE[:-1], "is cut off, or damaged in its last 64 KiB"),
        (WHOLE + b"x", "is cut off, or damaged in its last 64 KiB"),
        (WHOLE[: PAYLOAD + 20] + b"????" + WHOLE[PAYLOAD + 24 :], r"is damaged before byte \d+ of \d+"),
        (WHOLE[: PAYLOAD - 20] + b"????" + WHOLE[PAYLOAD - 16 :], "is damaged in its header"),
        # pyrage would work on it for seconds, and longer with each byte.
        (
            b"age-encryption.org/v1\n-> x\n" + (b"a" * 64 + b"\n") * 20_000,
            "is damaged: its header does not end within 32768 bytes",
        ),
    ],
)
def test_each_kind_has_its_sentence(stored: bytes, sentence: str) -> None:
    with pytest.raises(DecryptionFailed, match=rf"^the stored session 'one' {sentence}"):
        read_back(stored)


def test_the_whole_one_is_read() -> None:
    assert read_back(WHOLE) == PLAIN


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_no_flipped_bit_is_accepted(data: st.DataObject) -> None:
    place = data.draw(st.one_of(st.integers(0, PAYLOAD + 32), st.integers(0, len(WHOLE) - 1)))
    damaged = bytearray(WHOLE)
    damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(DecryptionFailed):
        read_back(bytes(damaged))


@settings(deadline=None, max_examples=100)
@given(st.one_of(st.integers(0, PAYLOAD + 32), st.integers(0, len(WHOLE) - 1)))
def test_no_cut_is_accepted(length: int) -> None:
    with pytest.raises(DecryptionFailed):
        read_back(WHOLE[:length])


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_no_rearrangement_is_accepted(data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(WHOLE)), min_size=2, max_size=4)))
    parts = [WHOLE[start:end] for start, end in zip([0, *cuts], [*cuts, len(WHOLE)], strict=True)]
    mixed = b"".join(data.draw(st.lists(st.sampled_from(parts), max_size=6)))
    if mixed == WHOLE:
        assert read_back(mixed) == PLAIN
    else:
        with pytest.raises(DecryptionFailed):
            read_back(mixed)


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=300), st.booleans())
def test_no_garbage_is_accepted(garbage: bytes, begins_well: bool) -> None:
    with pytest.raises(DecryptionFailed):
        read_back((WHOLE[:22] if begins_well else b"") + garbage)


@settings(deadline=None, max_examples=50)
@given(st.one_of(st.binary(max_size=100), st.integers(-2, 2).map(lambda n: bytes(2 * 65536 + n))))
def test_everything_that_was_saved_comes_back(plain: bytes) -> None:
    folder = Path(tempfile.mkdtemp(prefix="encrypted-"))
    try:
        store = EncryptedStore(MemoryStore(), recipients=[KEY.to_public()], identities=[OTHER, KEY])
        (folder / "in").write_bytes(plain)

        async def there_and_back() -> None:
            await store.save(session="one", path=folder / "in")
            await store.extract(session="one", path=folder / "out")

        asyncio.run(there_and_back())
        assert (folder / "out").read_bytes() == plain
        assert sorted(path.name for path in folder.iterdir()) == ["in", "out"]
    finally:
        shutil.rmtree(folder)
