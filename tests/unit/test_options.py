"""Options are checked when the client is made, named in the error, and copied."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from wwauth import Client, LocalAuth, NoAuth
from wwauth._proxy import proxy_of
from wwauth.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("web_url", "web.whatsapp.com"),
        ("web_url", "file:///etc/passwd"),
        ("web_url", ""),
        ("auth_timeout_ms", 0),
        ("auth_timeout_ms", True),
        ("auth_timeout_ms", float("inf")),
        ("auth_timeout_ms", float("nan")),
        ("auth_timeout_ms", "30000"),
        ("ready_timeout_ms", -1),
        ("ready_timeout_ms", 2**31),
        ("qr_max_retries", -1),
        ("qr_max_retries", 1.5),
        ("qr_max_retries", True),
        ("takeover_timeout_ms", -5),
        ("launch_options", 5),
        ("user_agent", 5),
        ("pair_with_phone_number", {"phone_number": "+1 555 1234567"}),
        ("pair_with_phone_number", {"phone_number": "١٢٣٤٥٦٧٨"}),
        ("pair_with_phone_number", {"phone_number": ""}),
        ("pair_with_phone_number", {}),
        ("pair_with_phone_number", {"phone_number": "15551234567", "interval_ms": 0}),
        ("pair_with_phone_number", {"phone_number": "15551234567", "colour": "red"}),
        ("proxy_authentication", {"username": "me"}),
        ("web_version", "latest"),
        ("web_version", ""),
        ("web_version", "2.3000.1/../../x"),
        ("web_version", "..\\2.3000"),
        ("web_version", "2..3000"),
        ("web_version", "2.3000\n"),
        ("web_version", "2.3000-gamma"),
        ("web_version", "٢.٣٠٠٠"),
        ("web_version", "2." + "9" * 300),
        ("web_version", 2.3),
        ("web_version_cache", "local"),
        ("web_version_cache.type", {"type": "memory"}),
        ("web_version_cache.type", {"type": None}),
        ("web_version_cache.strict", {"type": "local", "strict": "yes"}),
        ("web_version_cache.path", {"type": "local", "path": 5}),
        ("web_version_cache.colour", {"type": "local", "colour": "red"}),
        ("web_version_cache", {"type": "remote"}),
        ("web_version_cache.remote_path", {"type": "remote", "remote_path": "https://host/2.3000.html"}),
        ("web_version_cache.remote_path", {"type": "remote", "remotePath": "https://host/2.3000.html"}),
        ("web_version_cache.remote_path", {"type": "remote", "remote_path": "file:///{version}"}),
        ("web_version_cache.remote_path", {"type": "remote", "remote_path": "/{version}.html"}),
        ("cdp_url", "127.0.0.1:9222"),
        ("cdp_url", "ftp://127.0.0.1:9222"),
        ("cdp_url", "http://"),
        ("cdp_url", "http://host:port"),
        ("cdp_url", "http://[::1"),
        ("cdp_url", 9222),
    ],
)
def test_a_wrong_option_is_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=name):
        Client(**{name.partition(".")[0]: value})


def test_a_wrong_value_is_shown_with_the_cure() -> None:
    with pytest.raises(ConfigurationError, match=r"^invalid web_version '\.\./x': use the digits and dots"):
        Client(web_version="../x")
    with pytest.raises(ConfigurationError, match=r"type 'remote' needs remote_path: .*\{version\}"):
        Client(web_version_cache={"type": "remote"})
    with pytest.raises(ConfigurationError, match=r"remote_path 'https://host/x': use .*\{version\}"):
        Client(web_version_cache={"type": "remote", "remotePath": "https://host/x"})
    with pytest.raises(ConfigurationError, match=r"pair_with_phone_number\.phone_number is missing"):
        Client(pair_with_phone_number={})


def test_a_version_may_be_one_of_the_archives() -> None:
    for version in ("2.2412.54", "2.3000.1017054665", "2.3000.1014590669-alpha", "2.2413.51-beta"):
        assert Client(web_version=version).options.web_version == version


def test_the_guides_spelling_is_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    address = "https://host/html/{version}.html"
    for name in ("remotePath", "remote_path"):
        cache = Client(web_version_cache={"type": "remote", name: address}).options.web_version_cache
        assert cache.address_of("2.3000.1") == "https://host/html/2.3000.1.html"
    monkeypatch.chdir(tmp_path)
    cache = Client(web_version_cache={"type": "local"}).options.web_version_cache
    monkeypatch.chdir("/")  # the folder is the one of the client's making
    assert cache.file_of("2.3000.1") == tmp_path / ".wwebjs_cache" / "2.3000.1.html"
    assert Client().options.web_version_cache.type == Client(web_version_cache=None).options.web_version_cache.type == "none"


@pytest.mark.parametrize("name", ["cdp_url", "web_url"])
def test_what_an_address_may_hold_in_secret_is_not_shown(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"invalid {name} 'ftp://host:1/path'") as caught:
        Client(**{name: "ftp://me:hunter2@host:1/path?token=hunter2#hunter2"})  # type: ignore[arg-type]
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(Client(cdp_url="http://me:hunter2@host:1/?token=hunter2").options)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "needs a proxy"),
        ({"launch_options": {"args": ["--lang=en"]}}, "needs a proxy"),
        ({"launch_options": {"proxy": {"server": "socks5://host:1"}}}, "SOCKS"),
        ({"launch_options": {"args": ["--proxy-server=socks5://host:1"]}}, "SOCKS"),
        ({"launch_options": {"args": ["--proxy-server=http=a:1;https=b:2"]}}, "several"),
        ({"cdp_url": "http://127.0.0.1:9222"}, "cdp_url"),
    ],
)
def test_a_password_that_no_proxy_gets_is_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as caught:
        Client(proxy_authentication={"username": "me", "password": "hunter2"}, **options)
    assert "hunter2" not in str(caught.value)


def test_the_last_proxy_server_wins() -> None:
    assert proxy_of({}) is None
    assert proxy_of({"proxy": {"server": ""}}) is None
    assert proxy_of({"proxy": {"server": "a", "bypass": "b"}, "args": ["--proxy-server=c", "--proxy-server=d"]}) == {
        "server": "d",
        "bypass": "b",
    }


def test_a_browser_that_runs_has_a_profile_already(tmp_path: Path) -> None:
    strategy = LocalAuth(data_path=tmp_path)
    with pytest.raises(ConfigurationError, match=r"LocalAuth .* profile of its own .*cdp_url.*NoAuth"):
        Client(auth_strategy=strategy, cdp_url="http://127.0.0.1:9222")
    Client(auth_strategy=strategy)  # the client that was refused did not take it
    Client(auth_strategy=NoAuth(), cdp_url="ws://127.0.0.1:9222/devtools/browser/x")


def test_a_password_is_in_no_error_and_no_repr() -> None:
    for wrong in (
        {"username": "me", "password": "hunter2", "extra": "x"},
        "me:hunter2",
        {"username": 5, "password": "hunter2"},
    ):
        with pytest.raises(ConfigurationError, match="proxy_authentication") as caught:
            Client(proxy_authentication=wrong)  # type: ignore[arg-type]
        assert "hunter2" not in str(caught.value)
    client = Client(
        launch_options={"proxy": {"server": "http://127.0.0.1:1", "password": "hunter2"}},
        proxy_authentication={"username": "me", "password": "hunter2"},
    )
    assert "hunter2" not in repr(client.options)


@pytest.mark.parametrize(
    "options",
    [{"user_data_dir": "/x"}, {"userDataDir": "/x"}, {"args": ["--user-data-dir=/x"]}],
)
@pytest.mark.parametrize("strategy", [NoAuth, LocalAuth])
def test_a_profile_of_the_callers_is_refused(options: dict[str, Any], strategy: type) -> None:
    with pytest.raises(ConfigurationError, match="user_data_dir"):
        Client(auth_strategy=strategy(), launch_options=options)


def test_the_callers_objects_are_not_kept() -> None:
    given = {"args": ["--lang=en"], "headless": True}
    before = copy.deepcopy(given)
    client = Client(launch_options=given)
    client.options.launch_options["args"].append("--x")
    client.options.launch_options["headless"] = False
    assert given == before


def test_a_strategy_serves_one_client() -> None:
    strategy = NoAuth()
    Client(auth_strategy=strategy)
    with pytest.raises(ConfigurationError, match="already serves"):
        Client(auth_strategy=strategy)


@pytest.mark.parametrize("client_id", ["a b", "a/b", "../x", "a\n", "é", "a.b", 5, "x" * 300, "a\0"])
def test_a_client_id_outside_the_alphabet_is_refused(client_id: Any) -> None:
    with pytest.raises(ConfigurationError, match="client_id"):
        LocalAuth(client_id=client_id)


@pytest.mark.parametrize("client_id", [None, ""])
def test_no_client_id_is_the_plain_folder(client_id: str | None, tmp_path: Any) -> None:
    assert LocalAuth(client_id=client_id, data_path=tmp_path).user_data_dir == tmp_path / "session"
    assert LocalAuth(client_id="a-B_1", data_path=tmp_path).user_data_dir == tmp_path / "session-a-B_1"


@pytest.mark.parametrize("value", [-1, True, 1.5, "4", None])
def test_rm_max_retries_is_a_whole_number(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="rm_max_retries"):
        LocalAuth(rm_max_retries=value)
