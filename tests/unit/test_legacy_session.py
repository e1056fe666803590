"""A legacy session is checked when the strategy is made, and shown by nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import MappingProxyType
from typing import Any

import pytest

from wwauth import Client, LegacySessionAuth
from wwauth.errors import ConfigurationError

KEYS = ("WABrowserId", "WASecretBundle", "WAToken1", "WAToken2")
SESSION = {name: f'"{name.lower()} hunter2 ümlaut"' for name in KEYS}


def make(**options: Any) -> LegacySessionAuth:
    with pytest.warns(DeprecationWarning, match="LegacySessionAuth is deprecated: .* Use LocalAuth, or RemoteAuth"):
        return LegacySessionAuth(**options)


@pytest.mark.parametrize(
    ("session", "said"),
    [
        ({}, "WABrowserId is missing; WASecretBundle is missing; WAToken1 is missing; WAToken2 is missing"),
        ({name: SESSION[name] for name in KEYS[:-1]}, "invalid session: WAToken2 is missing"),
        ({**SESSION, "WAToken1": ""}, "invalid session: WAToken1 is empty"),
        ({**SESSION, "WAToken1": None}, "WAToken1 is not a text"),
        ({**SESSION, "WASecretBundle": {"key": "hunter2"}}, "WASecretBundle is not a text"),
        ({**SESSION, "WABrowserId": b"hunter2"}, "WABrowserId is not a text"),
        ({**SESSION, "WAToken1": 5}, "WAToken1 is not a text"),
        ({**SESSION, "waToken1": "hunter2"}, "'waToken1' is none of its keys"),
        (dict([*SESSION.items(), (5, "hunter2")]), "5 is none of its keys"),
        (json.dumps(SESSION), "invalid session of type str: use a dict"),
        (list(SESSION.items()), "invalid session of type list"),
        (True, "invalid session of type bool"),
    ],
)
def test_a_wrong_session_is_refused_by_key_and_never_by_value(session: Any, said: str) -> None:
    with pytest.warns(DeprecationWarning, match="Legacy"), pytest.raises(ConfigurationError) as caught:
        LegacySessionAuth(session=session)
    text = str(caught.value)
    assert said in text
    assert all(name in text for name in KEYS), "what is allowed"
    assert "hunter2" not in text
    assert "hunter2" not in str(caught.getrepr(style="short"))


def test_restart_on_auth_fail_is_true_or_false() -> None:
    with (
        pytest.warns(DeprecationWarning, match="Legacy"),
        pytest.raises(ConfigurationError, match="invalid restart_on_auth_fail 'yes'"),
    ):
        LegacySessionAuth(restart_on_auth_fail="yes")  # type: ignore[arg-type]


def test_no_repr_shows_the_session() -> None:
    strategy = make(session=MappingProxyType(SESSION))
    assert "hunter2" not in f"{strategy!r} {strategy} {vars(strategy)}"


def test_the_profile_is_a_throw_away_one() -> None:
    assert make(session=SESSION).user_data_dir is None


def test_the_callers_session_is_copied() -> None:
    given = dict(SESSION)
    strategy = make(session=given)
    before = repr(vars(strategy))
    given.clear()
    assert repr(vars(strategy)) == before


async def test_a_strategy_serves_one_client() -> None:
    strategy = make()
    Client(auth_strategy=strategy, handle_signals=False)
    with pytest.raises(ConfigurationError, match="already serves another Client"):
        Client(auth_strategy=strategy, handle_signals=False)


async def test_a_session_is_not_put_into_a_browser_that_keeps_a_login_of_its_own() -> None:
    with pytest.raises(ConfigurationError, match="leave out one of them"):
        Client(auth_strategy=make(session=SESSION), cdp_url="http://127.0.0.1:9222", handle_signals=False)
    Client(auth_strategy=make(), cdp_url="http://127.0.0.1:9222", handle_signals=False)


def test_the_warning_is_shown_at_the_line_that_makes_the_strategy() -> None:
    # Python shows it by default only where the program itself is to blame.
    program = "import wwauth\nwwauth.LegacySessionAuth()\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=_environment())
    assert "<string>:2: DeprecationWarning: LegacySessionAuth is deprecated" in done.stderr


def _environment() -> dict[str, str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("PYTHONWARNINGS", None)
    return environment
