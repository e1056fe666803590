"""Stores from URLs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wwauth.errors import ConfigurationError
from wwauth.stores import FileSystemStore, MemoryStore, RedisStore, open_store
from wwauth_stores.urls import folder_of_file_url, redact_url

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("file:backups", "backups"),
        ("file:./backups", "backups"),
        ("file:../backups", "../backups"),
        ("FILE:backups", "backups"),
        ("file:two%20words/b%C3%BCro", "two words/büro"),
        ("file:50%25", "50%"),
    ],
)
def test_a_relative_file_url(url: str, folder: str) -> None:
    store = open_store(url)
    assert isinstance(store, FileSystemStore)
    assert store.folder == Path(folder).absolute()


@pytest.mark.parametrize("url", ["file:/var/lib/b", "file:///var/lib/b", "file://localhost/var/lib/b"])
def test_an_absolute_file_url(url: str) -> None:
    assert folder_of_file_url(url, windows=False) == "/var/lib/b"


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("file:///C:/backups", "C:/backups"),
        ("file:///c|/backups", "c:/backups"),
        ("file:C:/backups", "C:/backups"),
        ("file:/backups", "/backups"),
        ("file:backups", "backups"),
        ("file://server/share/backups", "//server/share/backups"),
    ],
)
def test_a_file_url_on_windows(url: str, folder: str) -> None:
    assert folder_of_file_url(url, windows=True) == folder


def test_nothing_is_touched_before_it_is_used(tmp_path: Path) -> None:
    open_store((tmp_path / "backups").as_uri())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["memory:", "memory://"])
def test_each_memory_store_is_a_new_one(url: str) -> None:
    first, second = open_store(url), open_store(url)
    assert isinstance(first, MemoryStore)
    assert first is not second


@pytest.mark.parametrize("url", ["redis://localhost/1?ttl=60", "rediss://localhost", "unix:///run/redis.sock?db=1"])
async def test_a_redis_url(url: str) -> None:
    store = open_store(url)
    assert isinstance(store, RedisStore)
    await store.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "backups",
        "/var/lib/backups",
        "C:\\backups",
        f"ftp://user:{SECRET}@host",
        "file:",
        "file://",
        "file:a%00b",
        "file:backups?create=no",
        "file:backups#1",
        "file+x:backups",
        "memory:name",
        f"memory://user:{SECRET}@host",
        f"s3://user:{SECRET}@bucket/prefix",
        "s3://",
        "s3:bucket",
        "s3://bucket/../prefix",
        "s3://bucket#1",
        f"s3://bucket?{SECRET}",
        f"s3://bucket?no_such_option={SECRET}",
        f"s3://bucket?region=us-east-1&allow_http={SECRET}",
        f"gs://bucket?service_account_key={SECRET}",
        f"az://container?account_name=a&account_key={SECRET}",
        "redis:0",
        f"redis+hiredis://:{SECRET}@host",
        f"redis://:{SECRET}@host/database",
        f"redis://:{SECRET}@host:port",
        f"redis://host?password={SECRET}&no_such_option=1",
    ],
)
def test_a_wrong_url_is_named_with_the_cure(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"(invalid|unknown) store URL .*: ") as caught:
        open_store(url)
    assert SECRET not in str(caught.value)


def test_what_is_no_text_is_not_shown() -> None:
    with pytest.raises(ConfigurationError, match="of type bytes") as caught:
        open_store(SECRET.encode())  # type: ignore[arg-type]
    assert SECRET not in str(caught.value)


def test_known_schemes_are_listed() -> None:
    with pytest.raises(ConfigurationError, match="this version knows file:, memory:"):
        open_store("gopher://x")


@pytest.mark.skipif(os.name != "posix", reason="on Windows a host in a file URL is a server")
def test_a_folder_after_two_slashes_is_taken_for_a_host() -> None:
    with pytest.raises(ConfigurationError, match="a host follows two slashes"):
        open_store("file://backups/one")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mongodb://user:pw@host:27017/db", "mongodb://***@host:27017/db"),
        ("mongodb://user:p/w?#x@host/db", "mongodb://***@host/db"),
        ("mongodb://user:p@w@host/db?authSource=admin", "mongodb://***@host/db?***"),
        ("s3://bucket/prefix?secret=pw#pw", "s3://bucket/prefix?***"),
        ("file:backups", "file:backups"),
        ("user:pw@host", "user:***@host"),
        ("backups", "backups"),
    ],
)
def test_redaction(url: str, shown: str) -> None:
    assert redact_url(url) == shown
