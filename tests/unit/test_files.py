"""Private, durable files that are replaced whole."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from wwauth._files import make_private_dir, remove_tree, replacing, sweep_temporaries, temporary_sibling

if TYPE_CHECKING:
    from pathlib import Path

posix = pytest.mark.skipif(sys.platform == "win32", reason="only POSIX systems have permission bits")


@posix
def test_a_private_folder_is_private_under_any_umask_and_its_parents_are_made(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_private_dir(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    (tmp_path / "a" / "b").chmod(0o755)
    make_private_dir(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("durable", [True, False])
def test_replacing_shows_the_new_file_only_when_all_is_written(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "creds.json"
    path.write_bytes(b"old")
    with replacing(path, durable=durable) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
        assert temporary.parent == path.parent
        assert temporary.name.startswith(".")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@posix
def test_replacing_makes_the_file_private(tmp_path: Path) -> None:
    path = tmp_path / "creds.json"
    path.write_bytes(b"old")
    path.chmod(0o644)
    with replacing(path) as temporary:
        temporary.write_bytes(b"new")
        temporary.chmod(0o666)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "creds.json"
    path.write_bytes(b"old")
    with pytest.raises(TypeError), replacing(path) as temporary, temporary.open("wb") as file:
        file.writelines([b"half", None])  # type: ignore[list-item]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_wrote_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "creds.json"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError), replacing(tmp_path / "taken") as temporary:  # noqa: PT011 - systems differ in the kind
        temporary.write_bytes(b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_temporary_names_do_not_repeat_and_do_not_exist(tmp_path: Path) -> None:
    names = {temporary_sibling(tmp_path / "one.zip") for _ in range(100)}
    assert len(names) == 100
    assert not any(path.exists() for path in names)


def test_a_sweep_takes_what_is_old_and_only_its_own(tmp_path: Path) -> None:
    old, young, other = (temporary_sibling(tmp_path / name) for name in ("one.zip", "one.zip", "one.zip.b.zip"))
    foreign = [tmp_path / name for name in (".one.zip.notes.tmp", "one.zip.0123456789ab.tmp", ".one.zip.0123456789ab")]
    for path in (old, young, other, *foreign):
        path.write_bytes(b"x")
        if path != young:
            os.utime(path, (1, 1))
    sweep_temporaries(tmp_path, name="one.zip", older_than=3600)
    assert set(tmp_path.iterdir()) == {young, other, *foreign}
    sweep_temporaries(tmp_path)
    assert set(tmp_path.iterdir()) == set(foreign)


def test_a_sweep_takes_folders_and_needs_none(tmp_path: Path) -> None:
    left = temporary_sibling(tmp_path / "profile")
    (left / "Default").mkdir(parents=True)
    (left / "Default" / "file").write_bytes(b"x")
    sweep_temporaries(tmp_path)
    assert list(tmp_path.iterdir()) == []
    sweep_temporaries(tmp_path / "not there")


def test_remove_tree_takes_files_folders_and_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "folder" / "deep" / "file").write_bytes(b"x")
    (tmp_path / "file").write_bytes(b"x")
    for name in ("folder", "file", "not there"):
        remove_tree(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@posix
def test_remove_tree_takes_a_link_and_not_what_it_names(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    remove_tree(tmp_path / "link")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept" / "file").exists()


def test_remove_tree_raises_when_it_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(f"{path} is busy")

    monkeypatch.setattr("wwauth._files.shutil.rmtree", refuse)
    with pytest.raises(PermissionError):
        remove_tree(tmp_path, max_retries=0)


def test_remove_tree_goes_on_where_somebody_else_deletes_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(20):
        (folder / str(number)).write_bytes(b"x")

    def unlink_late(path: str, *, dir_fd: int | None = None) -> None:
        # Each file is somebody else's to delete, a moment before.
        unlink(path, dir_fd=dir_fd)
        unlink(path, dir_fd=dir_fd)

    unlink = os.unlink
    monkeypatch.setattr("wwauth._files.shutil.os.unlink", unlink_late)
    remove_tree(folder)
    assert not folder.exists()


def test_remove_tree_takes_what_lies_below_a_file_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    remove_tree(tmp_path / "file" / "below", max_retries=0)
    assert (tmp_path / "file").exists()
