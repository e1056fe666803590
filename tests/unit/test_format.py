"""docs/format.md is enough to read a backup: a reader that uses nothing of wwauth, on a sample that is never written anew."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from wwauth.backup import BackupEngine
from wwauth.stores import FileSystemStore

from .profiles import tree

if sys.version_info >= (3, 14):
    from compression.zstd import decompress
else:
    from backports.zstd import decompress

SAMPLE = Path(__file__).parents[1] / "fixtures" / "format-1"
SESSION = "RemoteAuth-sample"


def read_generation(folder: Path, session: str, number: int | None = None) -> dict[str, bytes]:
    """Read the files of one generation, the newest when no number is given, as docs/format.md says."""
    with zipfile.ZipFile(folder / f"{session}.zip") as archive:
        index = json.loads(archive.read("wwauth-index.json"))
    assert (index["format"], index["session"]) == (1, session)
    generation = next(g for g in index["generations"] if number in (None, g["number"]))
    unpacked: dict[int, dict[str, bytes]] = {}
    files: dict[str, bytes] = {}
    lines = []
    for file in sorted((index["files"][position] for position in generation["files"]), key=lambda file: file["path"]):
        content = b""
        for segment in file["segments"]:
            if segment["pack"] not in unpacked:
                pack = index["packs"][segment["pack"]]
                data = (folder / f"{session}.{pack['generation']}.{pack['writer']}.zip").read_bytes()
                assert (len(data), hashlib.sha256(data).hexdigest()) == (pack["size"], pack["sha256"])
                members = unpacked[segment["pack"]] = {}
                for entry in zipfile.ZipFile(io.BytesIO(data)).infolist():
                    assert entry.compress_type == 93
                    names = entry.header_offset + 26
                    start = names + 4 + sum(int.from_bytes(data[at : at + 2], "little") for at in (names, names + 2))
                    members[entry.filename] = decompress(data[start : start + entry.compress_size])
            piece = unpacked[segment["pack"]][segment["member"]]
            assert (len(piece), hashlib.sha256(piece).hexdigest()) == (segment["size"], segment["sha256"])
            content += piece
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file["size"], file["sha256"])
        lines.append(f"{file['path']}\0{file['size']}\0{file['sha256']}\n")
        files[file["path"]] = content
    assert hashlib.sha256("".join(lines).encode()).hexdigest() == generation["content"]
    return files


def expected(number: str) -> dict[str, str]:
    found: dict[str, str] = json.loads((SAMPLE / "expected.json").read_text("utf-8"))[number]
    return found


def digests(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items() if name.startswith("Default/")}


@pytest.mark.parametrize("number", ["1", "2", "3"])
async def test_the_sample_is_read_by_the_page_and_by_wwauth(tmp_path: Path, number: str) -> None:
    assert digests(read_generation(SAMPLE, SESSION, int(number))) == expected(number)
    # A copy, since a store of wwauth's closes its folder to others.
    shutil.copytree(SAMPLE, tmp_path / "store")
    engine = BackupEngine(FileSystemStore(tmp_path / "store"), session=SESSION)
    await engine.restore(tmp_path / "profile", int(number))
    assert digests(tree(tmp_path / "profile")) == expected(number)


async def test_the_sample_tells_what_it_is(tmp_path: Path) -> None:
    shutil.copytree(SAMPLE, tmp_path / "store")
    generations = await BackupEngine(FileSystemStore(tmp_path / "store"), session=SESSION).generations()
    assert [(g.number, g.kind, g.backend, g.chromium) for g in generations] == [
        (3, "incremental", "leveldb", 156),
        (2, "incremental", "leveldb", 156),
        (1, "full", "leveldb", 156),
    ]
    assert len({(g.lineage, g.writer) for g in generations}) == 1


async def test_what_is_written_today_is_read_by_the_page(tmp_path: Path) -> None:
    from .profiles import make_profile

    store = FileSystemStore(tmp_path / "store")
    profile = make_profile(tmp_path / "profile")
    await BackupEngine(store, session="RemoteAuth").save(profile)
    found = read_generation(store.folder, "RemoteAuth")
    saved = {name: content for name, content in tree(profile).items() if name in found}
    assert found == saved
    assert len(found) == 9
