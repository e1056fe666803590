"""Options are checked when the client is made, named in the error, and copied."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from wwauth import Client, LocalAuth, NoAuth
from wwauth.errors import ConfigurationError


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
    ],
)
def test_a_wrong_option_is_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=name):
        Client(**{name: value})


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
