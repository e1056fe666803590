"""What all stores share: errors of the system, and archives that change while they are read."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from wwauth._disk import store_errors
from wwauth.errors import StoreDenied, StoreError, StoreFull, StoreUnavailable
from wwauth_stores._local import CHUNK, open_source, read_source

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EACCES, StoreDenied),
        (errno.EPERM, StoreDenied),
        (errno.EROFS, StoreDenied),
        (errno.EIO, StoreUnavailable),
        (errno.ENOTDIR, StoreUnavailable),
        (errno.ETIMEDOUT, StoreUnavailable),
    ],
)
def test_an_error_of_the_system_says_what_the_caller_can_do(number: int, kind: type[StoreError]) -> None:
    with pytest.raises(StoreError) as caught, store_errors("save session 'one' in /backups"):
        raise OSError(number, os.strerror(number))
    assert type(caught.value) is kind
    assert str(caught.value).startswith(f"cannot save session 'one' in /backups: {os.strerror(number)}; ")
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.retryable is (kind is StoreUnavailable)


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(KeyError), store_errors("do anything"):
        raise KeyError


def test_an_archive_cut_while_it_is_read_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "source.zip"
    path.write_bytes(b"x" * 3 * CHUNK)
    with open_source(path) as source:
        chunks = read_source(source, lambda: None)
        assert next(chunks) == b"x" * CHUNK
        os.truncate(path, 2 * CHUNK)
        with pytest.raises(StoreError, match="changed while it was saved"):
            list(chunks)


def test_an_archive_that_grows_while_it_is_read_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "source.zip"
    path.write_bytes(b"x" * 2 * CHUNK)
    with open_source(path) as source:
        chunks = read_source(source, lambda: None)
        next(chunks)
        with path.open("ab") as writer:
            writer.write(b"y")
        with pytest.raises(StoreError, match="changed while it was saved"):
            list(chunks)
