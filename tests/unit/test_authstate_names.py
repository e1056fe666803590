"""Records' names and Baileys' files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wwauth.abc import CREDS, RecordName
from wwauth.authstate.names import KNOWN_TYPES, canonical, file_name, record_of
from wwauth.errors import ConfigurationError

FOLDERS = Path(__file__).parents[1] / "fixtures" / "baileys"
VECTORS = json.loads((FOLDERS / "vectors.json").read_text("utf-8"))["fileNames"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["file"])
def test_files_have_baileys_names_both_ways(vector: dict[str, str]) -> None:
    name = RecordName(vector["type"], vector["id"])

    assert file_name(name) == vector["file"]
    assert record_of(vector["file"]) == name


def test_the_credentials_have_a_name_of_their_own() -> None:
    assert file_name(CREDS) == "creds.json"
    assert record_of("creds.json") == CREDS


def test_every_file_of_baileys_has_a_record_of_a_known_type() -> None:
    found = set()
    for path in FOLDERS.glob("*/*.json"):
        name = record_of(path.name)
        assert name is not None
        assert file_name(name) == path.name
        assert "--" not in name.id
        found.add(name.type)
    assert found == {CREDS.type, *KNOWN_TYPES}


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("sender-key-memory-1-2@g.us.json", ("sender-key-memory", "1-2@g.us")),
        ("sender-key-1-2@g.us--3--4.json", ("sender-key", "1-2@g.us::3::4")),
        ("identity-key-a-b.json", ("identity-key", "a-b")),
        ("session-.json", ("session", "")),
        ("later-kind-1--2.json", ("later", "kind-1--2")),
        ("pre-keys-1.json", ("pre", "keys-1")),
    ],
)
def test_a_record_is_told_from_its_file(file: str, name: tuple[str, str]) -> None:
    record = record_of(file)

    assert record == name
    assert file_name(RecordName(*name)) == file


@pytest.mark.parametrize(
    "file",
    ["package.json", "-1.json", ".json", ".later-1.json", "session-1.json.bak", "session-1.json.tmp", "creds.json.bak", ""],
)
def test_other_files_hold_no_record(file: str) -> None:
    assert record_of(file) is None


def test_ids_that_have_one_file_name_in_baileys_stay_two_records() -> None:
    assert file_name(RecordName("session", "a:b")) == file_name(RecordName("session", "a-b"))
    assert canonical("session", "a-b") == "a-b"


@pytest.mark.parametrize(
    ("kind", "given", "original"),
    [
        ("sender-key", "1-2@g.us--3_1--0", "1-2@g.us::3_1::0"),
        ("sender-key", "1-2@g.us::3_1::0", "1-2@g.us::3_1::0"),
        ("app-state-sync-key", "++++____8+", "++++//8+"),
        ("app-state-sync-key", "++++//8+", "++++//8+"),
        ("tctoken", "__index", "__index"),
        ("lid-mapping", "1_reverse", "1_reverse"),
        ("sender-key-memory", "a--b", "a--b"),
        ("later", "a--b__c", "a--b__c"),
    ],
)
def test_an_id_from_a_file_name_is_taken_for_the_original(kind: str, given: str, original: str) -> None:
    assert canonical(kind, given) == original


def test_nothing_leaves_the_folder() -> None:
    assert file_name(RecordName("../x", "../../etc/passwd")) == "..__x-..__..__etc__passwd.json"


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("session", "\0", "makes no possible file name"),
        ("", "1", "makes no possible file name"),
        ("session", "\ud800", "half a character"),
        ("session", "x" * 243, "256 bytes"),
        ("session", "é" * 122, "257 bytes"),
    ],
)
def test_what_no_file_can_be_called_is_refused(kind: str, given: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        file_name(RecordName(kind, given))

    assert len(str(caught.value)) < 250
    str(caught.value).encode()


def test_the_longest_name_is_possible() -> None:
    file = file_name(RecordName("session", "x" * 242))

    assert len(file) == 255
    assert record_of(file) == ("session", "x" * 242)
