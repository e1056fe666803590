"""
Write the corpus of hostile archives that tests/fixtures/hostile/ holds: python scripts/hostile.py FOLDER.

Each file is an honest archive with one hostile thing in it. Add cases at will: those that are committed stay good.
"""

from __future__ import annotations

import hashlib
import json
import stat
import struct
import sys
import tempfile
import zipfile
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "stores")]

from tests.unit.profiles import INDEXED_DB, LOCAL_STORAGE, make_profile, tree  # noqa: E402 - needs the path above
from tests.unit.rawzip import DEFLATED, STORED, ZSTD, Member, compress, raw_zip  # noqa: E402
from wwauth.backup._zstd import zstd  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLE = ROOT / "tests" / "fixtures" / "format-1"
SESSION = "RemoteAuth-sample"
FILE = f"{INDEXED_DB}/CURRENT"
X = "Default/IndexedDB/x"
HUGE = 1 << 50

# name, bytes, what the refusal says (a regular expression), what it is
Case = tuple[str, bytes, str, str]
PackCase = tuple[str, bytes, dict[str, Any], str, str]


def honest(**options: Any) -> list[Member]:
    """Return the entries of an honest plain zip."""
    with tempfile.TemporaryDirectory() as folder:
        files = tree(make_profile(Path(folder) / "p", log=[b"first"], table=b"table " * 500))
    return [
        Member(name, data, **options) for name, data in files.items() if not name.endswith(("/LOG", "/LOCK", "/Preferences"))
    ]


def patched(data: bytes, at: int, value: bytes) -> bytes:
    """Replace bytes from an offset on."""
    return data[:at] + value + data[at + len(value) :]


def plain() -> Iterator[Case]:
    """Make the cases of the plain zip."""
    yield from plain_names()
    yield from plain_kinds()
    yield from plain_bytes()
    yield from plain_form()
    yield from plain_ends()


def plain_names() -> Iterator[Case]:
    """Make names that lie outside, or are another name somewhere."""
    outside, other, character = "leads out of the destination", "some systems take for another", "a character that no file"
    names: dict[str, tuple[str | bytes, str, str]] = {
        "zip-slip": ("Default/IndexedDB/../../../evil", outside, "`..` in the middle"),
        "zip-slip-first": ("../evil", outside, "`..` at the beginning, of a file that is not wanted"),
        "zip-slip-last": ("Default/IndexedDB/..", outside, "`..` at the end"),
        "zip-slip-folder": ("Default/IndexedDB/../", f"{outside}|folder with content", "a folder `..`"),
        "zip-slip-backslash": ("Default\\IndexedDB\\..\\..\\..\\evil", outside, "`..` between backslashes"),
        "zip-slip-mixed": ("Default/IndexedDB\\../..\\../evil", outside, "`..` between both"),
        "dot": ("Default/./IndexedDB/x", outside, "a part `.`"),
        "part-empty": ("Default//IndexedDB/x", outside, "two slashes"),
        "name-empty": ("", outside, "no name"),
        "absolute": ("/Default/IndexedDB/x", "absolute", "a slash first"),
        "absolute-backslash": ("\\Default\\x", "absolute", "a backslash first"),
        "unc": ("\\\\host\\share\\x", "absolute", "a Windows share"),
        "drive": ("C:/Default/IndexedDB/x", "absolute", "a drive letter"),
        "drive-relative": ("c:x", "absolute", "a drive letter without a slash"),
        "stream": (f"{X}:y", character, "an alternate data stream of NTFS"),
        "nul": (f"{X}\0.txt", character, "a NUL in the name"),
        "newline": (f"{X}\ny", character, "a newline in the name"),
        "zero-width": ("Default/Indexed\u200dDB/x", character, "a character that HFS+ leaves out of comparisons"),
        "wildcard": (f"{X}?", character, "a wildcard"),
        "name-no-utf8": (
            b"Default/IndexedDB/\xff\xfe",
            "the name of entry .* is not the UTF-8",
            "a name that is not the UTF-8 it says it is",
        ),
        "device-con": ("Default/IndexedDB/CON", other, "a device of Windows"),
        "device-nul": ("Default/IndexedDB/nul.txt", other, "a device with an ending"),
        "device-nul-dot": ("Default/IndexedDB/NUL.", other, "a device with a dot"),
        "device-com": ("Default/IndexedDB/COM1.txt/x", other, "a folder that is a device"),
        "device-com-superscript": ("Default/IndexedDB/com\u00b9", other, "a device by a superscript"),
        "device-space": ("Default/IndexedDB/aux .txt", other, "a device with a space"),
        "device-conin": ("Default/IndexedDB/CONIN$", other, "the console of Windows"),
        "trailing-dot": (f"{X}.", other, "a dot that Windows cuts off"),
        "trailing-space": (f"{X} ", other, "a space that Windows cuts off"),
        "name-64k": ("Default/IndexedDB/" + "x" * 65_000, r"longer or deeper .*", "a name of 64 kB"),
        "name-deep": ("Default/IndexedDB" + "/x" * 32_000, "longer or deeper", "a name of 32,000 folders"),
        "name-255": ("Default/IndexedDB/" + "x" * 256, other, "a part that no file system takes"),
        "twice": (FILE, "is there twice", "a name twice"),
        "case": (FILE.replace("CURRENT", "current"), "only in case", "two names that differ in case"),
        "case-folder": ("default/x", "only in case", "two folders that differ in case"),
        "ligature": (f"{INDEXED_DB}/\ufb01le", "only in case", "a name that folds to another's"),
        "composed": (f"{INDEXED_DB}/e\u0301", "only in case or composition", "a name in another composition"),
        "file-is-folder": (f"{FILE}/x", "a file there and a folder here", "a file that is another's folder"),
        "folder-is-file": (INDEXED_DB, "a folder there|a file there", "a folder that is a file as well"),
    }
    beside = [Member(f"{INDEXED_DB}/\u00e9"), Member(f"{INDEXED_DB}/file")]
    for case, (name, says, what) in names.items():
        others = honest() + (beside if case in {"ligature", "composed"} else [])
        yield case, raw_zip(*others, Member(name, b"evil")), says, what


def plain_kinds() -> Iterator[Case]:
    """Make what is no file, and what cannot be unpacked."""
    modes = {"symlink": stat.S_IFLNK, "fifo": stat.S_IFIFO, "device-char": stat.S_IFCHR, "device-block": stat.S_IFBLK}
    for case, mode in {**modes, "socket": stat.S_IFSOCK}.items():
        member = Member(X, b"/etc/passwd", STORED, central={"attributes": (mode | 0o777) << 16})
        yield case, raw_zip(*honest(), member), "link or a device", f"a {case} by its mode"
    member = Member(X, b"/etc/passwd", STORED, central={"attributes": (stat.S_IFLNK | 0o777) << 16, "made": 20})
    yield "symlink-dos", raw_zip(*honest(), member), "link or a device", "a symbolic link that says it is from DOS"
    member = Member(X, b"", central={"attributes": 0x400, "made": 20})
    yield "reparse-point", raw_zip(*honest(), member), "link or a device", "a link of Windows by its attributes"
    member = Member(X, b"", central={"attributes": (stat.S_IFDIR | 0o755) << 16})
    yield "folder-by-mode", raw_zip(*honest(), member), "a folder by its mode alone", "a folder by its mode, a file by its name"
    yield "folder-with-content", raw_zip(*honest(), Member(f"{X}/", b"evil")), "folder with content", "a folder with bytes"
    yield "encrypted", raw_zip(*honest(), Member(X, b"x", flags=1)), "encrypted", "an encrypted entry"
    yield "encrypted-strongly", raw_zip(*honest(), Member(X, b"x", flags=0x40)), "encrypted", "one by strong encryption"
    for method in (9, 12, 14, 93, 99):
        member = Member(X, b"x", method)
        yield f"method-{method}", raw_zip(*honest(), member), f"method {method}", f"compressed by method {method}"


def plain_bytes() -> Iterator[Case]:
    """Make bytes that are not what the directory says."""
    text = b"text " * 100
    deflated = compress(text, DEFLATED)
    zeros = compress(bytes(50_000_000), DEFLATED)
    wrong = {"crc": 1}
    yield (
        "crc-stored",
        raw_zip(*honest(), Member(X, text, STORED, local=wrong, central=wrong)),
        f"{X}.* CRC",
        "a wrong CRC, stored",
    )
    yield "crc-deflated", raw_zip(*honest(), Member(X, text, local=wrong, central=wrong)), f"{X}.* CRC", "a wrong CRC, deflated"
    for case, size in {"size-smaller": 499, "size-larger": 501, "size-zero": 0}.items():
        says = {"size": size}
        member = Member(X, text, local=says, central=says)
        yield case, raw_zip(*honest(), member), f"{X}.*(more|fewer) than the {size} bytes", f"{size} bytes that are 500"
    says = {"size": 99}
    yield (
        "size-stored",
        raw_zip(*honest(), Member(X, text, STORED, local=says, central=says)),
        "two sizes",
        "stored, of two sizes",
    )
    yield "deflate-cut", raw_zip(*honest(), Member(X, text, packed=deflated[:-3])), f"{X}.* cut short", "a cut stream"
    yield (
        "deflate-more",
        raw_zip(*honest(), Member(X, text, packed=deflated + b"more")),
        f"{X}.* behind the end",
        "bytes behind a stream",
    )
    yield (
        "deflate-damaged",
        raw_zip(*honest(), Member(X, text, packed=b"\xff" * 20)),
        f"{X}.* cannot be decompressed",
        "no stream at all",
    )
    member = Member(X, bytes(100), packed=zeros)
    yield "bomb-small-claim", raw_zip(*honest(), member), f"{X}.*more than the 100 bytes", "50 MB that say they are 100 bytes"
    says = {"size": 3_000_000_000}
    yield (
        "bomb-ratio",
        raw_zip(*honest(), Member(X, b"x", local=says, central=says)),
        "bytes that unpack to",
        "3 GB from a few bytes",
    )
    extra = struct.pack("<2HQ", 1, 8, HUGE)
    wide = {"size": 0xFFFFFFFF, "extra": extra}
    claim = Member(X, b"x", central=wide, local={"size": 0xFFFFFFFF, "extra": struct.pack("<2H2Q", 1, 16, HUGE, 3)})
    yield "bomb-petabyte", raw_zip(*honest(), claim), "bytes when unpacked", "a petabyte, by ZIP64"


def plain_form() -> Iterator[Case]:
    """Make headers, descriptors and offsets that disagree."""
    differ = "tell different things"
    for key, value in {"name": b"../evil", "size": 1, "packed": 1, "method": STORED, "crc": 1, "flags": 0x801}.items():
        member = Member(X, b"text" * 9, local={key: value})
        yield f"local-{key}", raw_zip(*honest(), member), f"{X}.*{differ}", f"another {key} in the entry's own header"
    streamed = Member(X, b"text" * 9, descriptor="4sLLL")
    told = "sizes there that are not those of the directory"
    for key in ("crc", "packed", "size"):
        yield f"descriptor-{key}", raw_zip(*honest(), replace(streamed, told={key: 1})), told, f"another {key} behind the bytes"
    flags = {"flags": 0x800}
    yield (
        "descriptor-unannounced",
        raw_zip(*honest(), replace(streamed, local=flags, central=flags)),
        told,
        "sizes that nobody announced",
    )
    first, *rest = honest()
    yield "gap", raw_zip(replace(first, behind=b"gap"), *rest), "belong to no entry", "bytes between two entries"
    shared = Member(X, first.data, central={"offset": 0})
    yield "overlap-same", raw_zip(*honest(), shared), "over another|different things", "two entries of the same bytes"
    inner = raw_zip(Member(X, b"kernel" * 9, STORED))[: 30 + len(X) + 54]
    quoted = Member("Default/IndexedDB/q", inner, STORED)
    offset = len(raw_zip(*honest(), quoted)) - 22 - sum(46 + len(str(m.name)) for m in [*honest(), quoted]) - len(inner)
    kernel = Member(X, b"kernel" * 9, STORED, central={"offset": offset})
    data = raw_zip(*honest(), quoted, kernel)
    yield "overlap-quoted", data, "over another|no entry", "an entry within another's bytes"
    yield (
        "offset-outside",
        raw_zip(*honest(), Member(X, b"x", central={"offset": 1 << 31})),
        "no entry|is not where",
        "an entry behind the end",
    )
    yield (
        "offset-other-disk",
        raw_zip(*honest(), Member(X, b"x", central={"disk": 7})),
        "another part",
        "an entry on another disk",
    )
    bad = {"extra": struct.pack("<2H", 0x5455, 500)}
    yield (
        "extra-endless",
        raw_zip(*honest(), Member(X, b"x", central=bad)),
        "extra field that does not end",
        "an extra field that is too long",
    )
    need = {"size": 0xFFFFFFFF}
    yield (
        "zip64-missing",
        raw_zip(*honest(), Member(X, b"x", central=need)),
        "ZIP64 sizes are not there",
        "ZIP64 sizes that are not there",
    )
    twice = {"size": 0xFFFFFFFF, "extra": struct.pack("<2HQ", 1, 8, 1) * 2}
    yield "zip64-twice", raw_zip(*honest(), Member(X, b"x", central=twice)), "ZIP64 sizes twice", "ZIP64 sizes twice"
    both = [Member("wwauth-index.json", b"{}"), *honest()]
    yield "index-and-profile", raw_zip(*both), "entries, 1 are allowed", "an index and a profile in one"
    only = [Member("Default/Cookies", b"c"), Member("Default/IndexedDBs/x", b"x")]
    yield "no-login", raw_zip(*only), "no file of a login", "nothing of a login"
    yield (
        "nested",
        raw_zip(Member("profile.zip", raw_zip(*honest()), STORED)),
        "no file of a login",
        "the archive in an archive",
    )
    yield (
        "database-is-folders",
        raw_zip(*(m for m in honest() if m.name != FILE), Member(f"{FILE}/x", b"")),
        "CURRENT",
        "a folder for CURRENT",
    )
    table = f"{LOCAL_STORAGE}/000005.ldb"
    folders = [m for m in honest() if m.name != table]
    yield "table-is-a-folder", raw_zip(*folders, Member(f"{table}/")), r"000005\.ldb.*folder", "a folder for a table"


def plain_ends() -> Iterator[Case]:
    """Tell otherwise where the archive begins and ends."""
    good = raw_zip(*honest())
    nowhere, no_zip = "directory is not where it says", "not a zip, or one that was cut short"
    yield "empty", b"", no_zip, "no bytes"
    yield "no-zip", b"<html>502 Bad Gateway</html>", no_zip, "a page of a proxy"
    yield "no-entries", raw_zip(), "no file of a login", "a zip of nothing"
    yield "cut", good[:-30], no_zip, "the end is gone"
    yield "cut-half", good[: len(good) // 2], no_zip, "half of it"
    yield "cut-first", good[100:], nowhere, "the beginning is gone"
    yield "trailing", good + b"garbage", no_zip, "bytes behind the end"
    yield "leading", b"#!/bin/sh\n" + good, nowhere, "bytes before the beginning"
    yield "leading-counted", raw_zip(*honest(), before=b"#!/bin/sh\n"), "belong to no entry", "such that the offsets count"
    yield "two-archives", good + good, nowhere, "an archive behind another"
    yield "comment-end", raw_zip(*honest(), comment=raw_zip()), "two ends", "an end in the comment"
    yield "comment-archive", raw_zip(*honest(), comment=good), "two ends", "an archive in the comment"
    yield "comment-long", raw_zip(*honest(), comment=b"c", length=2), no_zip, "a comment that is longer than what is there"
    yield "comment-short", raw_zip(*honest(), comment=b"cc", length=1), no_zip, "one that is shorter"
    count = len(honest())
    yield "count-more", raw_zip(*honest(), count=count + 1), "damaged at entry", "more entries than there are"
    yield "count-less", raw_zip(*honest(), count=count - 1), "goes on behind", "fewer entries than there are"
    yield "count-none", raw_zip(*honest(), count=0), "goes on behind", "entries that are not counted"
    yield "count-billion", raw_zip(*honest(), zip64=True, count=10**9), "1000000000 entries", "a billion entries, by ZIP64"
    yield "disk", raw_zip(*honest(), disk=1), "one part", "a part of an archive in several"
    yield "directory-size", raw_zip(*honest(), size=10), nowhere, "a smaller directory"
    yield "directory-start", raw_zip(*honest(), start=10), nowhere, "a directory elsewhere"
    wide = raw_zip(*honest(), zip64=True)
    yield (
        "zip64-locator",
        patched(wide, len(wide) - 22 - 12, struct.pack("<Q", 7)),
        "not where its locator",
        "a ZIP64 end elsewhere",
    )
    yield (
        "zip64-petabyte",
        patched(wide, len(wide) - 22 - 20 - 8, struct.pack("<Q", HUGE)),
        nowhere,
        "a directory a petabyte away",
    )
    yield (
        "zip64-other",
        patched(wide, len(wide) - 22 + 8, struct.pack("<H", 3)),
        "two end records",
        "two ends that count differently",
    )


def index() -> Iterator[Case]:
    """Make the cases of the index, from the sample's."""
    with zipfile.ZipFile(SAMPLE / f"{SESSION}.zip") as archive:
        good = json.loads(archive.read("wwauth-index.json"))

    def text(data: bytes, method: int = DEFLATED, name: str = "wwauth-index.json") -> bytes:
        return raw_zip(Member(name, data, method))

    yield from index_values(good)
    whole = json.dumps(good).encode()
    yield (
        "two-entries",
        raw_zip(Member("wwauth-index.json", whole), Member("x", b"")),
        "2 entries",
        "something beside the index",
    )
    yield "two-indexes", raw_zip(*[Member("wwauth-index.json", whole)] * 2), "there twice", "an index twice"
    yield "name-case", text(whole, name="WWAUTH-INDEX.JSON"), "no file of a login", "another spelling of its name"
    yield "method-zstd", text(whole, ZSTD), "method 93", "an index compressed by zstd"
    member = Member("wwauth-index.json", whole, central={"crc": 1}, local={"crc": 1})
    yield "crc", raw_zip(member), "CRC", "a wrong CRC"
    yield "trailing", text(whole) + b"garbage", "not a zip, or one that was cut short", "bytes behind the end"
    yield "cut", text(whole)[:-9], "not a zip, or one that was cut short", "the end is gone"
    yield "encrypted", raw_zip(Member("wwauth-index.json", whole, flags=1)), "encrypted", "an encrypted index"
    bomb = Member("wwauth-index.json", bytes(20), packed=compress(bytes(50_000_000), DEFLATED))
    yield "bomb-small-claim", raw_zip(bomb), "more than the 20 bytes", "50 MB that say they are 20 bytes"
    yield "bomb-spaces", text(b" " * 60_000_000), "bytes that unpack to", "60 MB of spaces"
    yield "bomb-brackets", text(b"[" + b"{}," * 300_000 + b"{}]"), "brackets", "300,000 empty objects"
    yield "bomb-digits", text(b'{"format":' + b"9" * 100_000 + b"}"), "no JSON text", "a number of 100,000 digits"
    yield "deep", text(b"[" * 100_000), "brackets", "100,000 lists in each other"
    yield "key-huge", text(json.dumps({**good, "k" * 1_000_000: 1}).encode()), r"characters\)", "a key of a megabyte"
    yield "no-json", text(b"{"), "no JSON text", "half a JSON text"
    yield "not-utf8", text(whole.replace(b"CURRENT", b"CURREN\xff")), "no JSON text", "not UTF-8"
    yield "utf16", text(json.dumps(good).encode("utf-16")), "no JSON text", "UTF-16"
    yield "key-twice", text(whole.replace(b'"format"', b'"format": 1, "format"', 1)), "key twice", "a key twice"
    yield "nan", text(whole.replace(b'"format": 1', b'"format": NaN')), "format", "not a number"


def index_values(good: Any) -> Iterator[Case]:
    """Make one value wrong."""
    other, outside = "some systems take for another", "leads out of the destination"
    values: dict[str, tuple[tuple[Any, ...], Any, str]] = {
        "format-2": (("format",), 2, "format 2, and this wwauth knows 1"),
        "format-huge": (("format",), 10**4000, "has format 1000"),
        "format-0": (("format",), 0, "format"),
        "format-true": (("format",), True, "format"),
        "session-other": (("session",), "RemoteAuth-other", "RemoteAuth-other"),
        "path-zip-slip": (("files", 0, "path"), "Default/IndexedDB/../../../evil", outside),
        "path-absolute": (("files", 0, "path"), "/etc/passwd", "absolute"),
        "path-drive": (("files", 0, "path"), "C:\\evil", "absolute"),
        "path-backslash": (("files", 0, "path"), "Default/IndexedDB/..\\..\\evil", "character"),
        "path-device": (("files", 0, "path"), "Default/IndexedDB/nul.ldb", other),
        "path-nul": (("files", 0, "path"), "Default/IndexedDB/x\0", "character"),
        "path-surrogate": (("files", 0, "path"), "Default/IndexedDB/\udc80", "character"),
        "path-stream": (("files", 0, "path"), "Default/IndexedDB/x:y", "character"),
        "path-deep": (("files", 0, "path"), "Default/IndexedDB" + "/x" * 20_000, "longer or deeper"),
        "path-no-login": (("files", 0, "path"), "Default/Cookies", "no file of a login"),
        "path-note": (("files", 0, "path"), "wwauth-backup.json", "no file of a login"),
        "path-twice": (("generations", 0, "files", 0), good["generations"][0]["files"][1], "twice"),
        "path-case": (
            ("files", 0, "path"),
            good["files"][1]["path"].swapcase().replace("dEFAULT/iNDEXEDdb", "Default/IndexedDB"),
            "case",
        ),
        "pack-foreign": (("files", 0, "segments", 0, "pack"), 99, "names pack 99"),
        "pack-missing": (("packs", 0, "generation"), 1_000, "newer than itself"),
        "pack-petabyte": (("packs", 0, "unpacked"), HUGE, "bytes when unpacked"),
        "pack-ratio": (("packs", 0, "unpacked"), 1 << 32, "bytes that unpack to"),
        "pack-small": (("packs", 0, "unpacked"), 1, "fewer bytes than"),
        "fence": (("fence",), HUGE << 20, "fence"),
        "garbage-since": (("garbage",), [{"generation": 9, "writer": "0123abcd", "since": "0000-00-00T00:00:00Z"}], "no time"),
        "pack-negative": (("packs", 0, "size"), -1, "size"),
        "pack-twice": (("packs", 1), good["packs"][0], "listed twice"),
        "writer-slip": (("packs", 0, "writer"), "../../aa", "writer"),
        "writer-newline": (("packs", 0, "writer"), "0123abc\n", "writer"),
        "lineage": (("generations", 0, "lineage"), "x" * 8, "lineage"),
        "garbage-live": (("garbage",), [{k: good["packs"][0][k] for k in ("generation", "writer")}], "needed and garbage"),
        "garbage-name": (("garbage",), [{"generation": 1, "writer": "../other"}], "writer"),
        "garbage-session": (("garbage",), [{"generation": 1, "writer": "0123abcd", "session": "other"}], "session"),
        "file-petabyte": (("files", 0, "size"), HUGE, "do not have the"),
        "file-unknown": (("generations", 0, "files"), [99], "not listed"),
        "file-none": (("generations", 0, "files"), [], "no files"),
        "member-slip": (("files", 0, "segments", 0, "member"), "../0", "member"),
        "digest": (("files", 0, "sha256"), "0" * 64, "different digests"),
        "number-huge": (("generations", 0, "number"), 10**18, "number"),
        "number-float": (("generations", 0, "number"), 3.0, "number"),
        "number-same": (("generations", 0, "number"), 2, "not in order|newer than itself"),
        "backend": (("generations", 0, "backend"), "papyrus", "backend"),
        "generations-many": (
            ("generations",),
            [{**good["generations"][0], "number": 500 - n} for n in range(101)],
            "generations",
        ),
        "generations-text": (("generations",), "x", "generations"),
        "more": (("more",), 1, "more"),
    }
    for case, (keys, value, says) in values.items():
        wrong = deepcopy(good)
        place = wrong
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        data = raw_zip(Member("wwauth-index.json", json.dumps(wrong).encode()))
        yield case, data, says, f"`{'.'.join(map(str, keys))}` is {repr(value)[:60]}"


def packs() -> Iterator[PackCase]:
    """Make the cases of the pack: what a fourth generation's pack is, what its index says otherwise."""
    members = [Member(str(number), member.data, ZSTD) for number, member in enumerate(honest())]
    data = members[0].data
    rest = members[1:]
    good = raw_zip(*members)

    def first(**changes: Any) -> bytes:
        return raw_zip(replace(members[0], **changes), *rest)

    def frame(content: bytes, **options: int) -> bytes:
        chosen: dict[int, int] = {getattr(zstd.CompressionParameter, name): value for name, value in options.items()}
        engine = zstd.ZstdCompressor(options=chosen)
        return engine.compress(content) + engine.flush()

    whole = zstd.compress(data)
    yield "missing", b"", {}, "holds no session", "the index names a pack that is not there"
    yield "other-bytes", patched(good, 50, b"\xff\xff"), {"of": good}, "not what was stored", "other bytes than the index says"
    yield "cut", good[:-1], {"of": good}, "the index says", "one byte is gone"
    yield "another-session", (SAMPLE / f"{SESSION}.1.d1906a3a.zip").read_bytes(), {"of": good}, "the index says", "another pack"
    yield "no-zip", b"no zip", {}, "not a zip", "no zip, and the index says so"
    yield "trailing", good + b"more", {}, "not a zip", "bytes behind the end"
    yield "leading", b"more" + good, {}, "not where it says", "bytes before the beginning"
    yield "member-missing", raw_zip(*rest), {}, "member 0 .* is not in it", "a member that is not there"
    yield "member-twice", raw_zip(*members, members[0]), {"unpacked": 1 << 20}, "there twice", "a member twice"
    yield (
        "member-path",
        raw_zip(*members, Member("../evil", b"x", ZSTD)),
        {"unpacked": 1 << 20},
        "leads out",
        "a member that leads out",
    )
    yield "member-size", first(data=data + b"x"), {"unpacked": 1 << 20}, "bytes, not", "a member of another size"
    yield "member-digest", first(data=bytes(len(data))), {}, "digest", "a member of other bytes"
    yield (
        "more-than-said",
        raw_zip(*members, Member("99", bytes(100_000), ZSTD)),
        {},
        "bytes when unpacked",
        "more than the index promises",
    )
    yield "entries", raw_zip(*members, zip64=True, count=10**9), {}, "1000000000 entries", "a billion entries"
    yield "method", first(method=DEFLATED), {}, "method 8", "a deflated member"
    yield "encrypted", first(flags=1), {}, "encrypted", "an encrypted member"
    yield "crc", first(local={"crc": 1}, central={"crc": 1}), {}, "CRC", "a wrong CRC"
    yield "symlink", first(central={"attributes": 0o120777 << 16}), {}, "link", "a member that is a link"
    yield (
        "overlap",
        raw_zip(*members, Member("99", data, ZSTD, central={"offset": 0})),
        {"unpacked": 1 << 20},
        "over another",
        "two members of one",
    )
    yield "frame-cut", first(packed=whole[:-2]), {}, "cut short", "half a frame"
    yield "frame-damaged", first(packed=b"\xff" * 30), {}, "decompressed", "a damaged frame"
    yield "frame-two", first(packed=frame(data[:5]) + frame(data[5:])), {}, "behind the end", "two frames"
    skippable = struct.pack("<LL", 0x184D2A50, 4) + b"skip"
    yield "frame-skippable", first(packed=whole + skippable), {}, "behind the end", "a frame to be skipped"
    wide = frame(data, window_log=27, content_size_flag=0)
    yield "frame-window", first(packed=wide), {}, "decompressed", "a window of 128 MB"
    false = b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", HUGE) + whole[6:]
    yield "frame-petabyte", first(packed=false), {}, "decompressed", "a frame that says it has a petabyte"
    yield "bomb-small-claim", first(packed=zstd.compress(bytes(50_000_000))), {}, "more than the", "50 MB that say they are few"


def pack_index(data: bytes, pack: dict[str, Any]) -> bytes:
    """Write the sample's index with a fourth generation, whose files all lie in the pack `data`."""
    with zipfile.ZipFile(SAMPLE / f"{SESSION}.zip") as archive:
        document = json.loads(archive.read("wwauth-index.json"))
    described = pack.pop("of", data)
    members = honest()
    size = sum(len(member.data) for member in members)
    listed = {"generation": 4, "writer": "0123abcd", "size": len(described), "sha256": hashlib.sha256(described).hexdigest()}
    document["packs"].append({**listed, "unpacked": size, **pack})
    positions = []
    for number, member in enumerate(members):
        digest = hashlib.sha256(member.data).hexdigest()
        segment = {"pack": len(document["packs"]) - 1, "member": str(number), "size": len(member.data), "sha256": digest}
        positions.append(len(document["files"]))
        document["files"].append({"path": member.name, "size": len(member.data), "sha256": digest, "segments": [segment]})
    newest = {**document["generations"][0], "number": 4, "writer": "0123abcd", "kind": "full", "files": positions}
    document["generations"].insert(0, newest)
    document["garbage"] = []
    return raw_zip(Member("wwauth-index.json", json.dumps(document).encode()))


def main(folder: Path) -> None:
    """Write all cases, and the table of what they are."""
    table: dict[str, dict[str, dict[str, str]]] = {}

    def note(kind: str, case: str, says: str, what: str) -> Path:
        table.setdefault(kind, {})[case] = {"says": says, "what": what}
        (folder / kind).mkdir(parents=True, exist_ok=True)
        return folder / kind

    for kind, cases in (("plain", plain()), ("index", index())):
        for case, data, says, what in cases:
            (note(kind, case, says, what) / f"{case}.zip").write_bytes(data)
    for case, data, described, says, what in packs():
        place = note("pack", case, says, what)
        (place / f"{case}.index.zip").write_bytes(pack_index(data, dict(described)))
        (place / f"{case}.zip").write_bytes(data)
    (folder / "cases.json").write_text(json.dumps(table, indent=1, ensure_ascii=True) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
