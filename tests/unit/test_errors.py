"""The tree of errors: its drawing, its roots, and what each says about trying again."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from wwauth import errors
from wwauth.errors import (
    AuthTimeout,
    ConfigurationError,
    MissingDependency,
    SessionClosed,
    SessionInUse,
    SessionNotFound,
    WWAuthError,
)

ALL = [getattr(errors, name) for name in errors.__all__]


def test_every_error_is_in_all_and_has_one_root() -> None:
    defined = {value for _, value in inspect.getmembers(errors, inspect.isclass) if value.__module__ == errors.__name__}
    assert defined == set(ALL)
    assert all(issubclass(error, WWAuthError) for error in defined)


def test_the_drawing_is_the_tree() -> None:
    drawn: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    assert errors.__doc__ is not None
    for line in errors.__doc__.splitlines():
        if found := re.match(r"( *[│ ]*(?:[├└]── )?)(\w+)", line):
            depth, name = len(found[1]), found[2]
            if name not in errors.__all__:
                continue
            while above and above[-1][0] >= depth:
                above.pop()
            drawn[name] = above[-1][1] if above else "Exception"
            above.append((depth, name))
    assert drawn == {error.__name__: error.__bases__[0].__name__ for error in ALL}


def test_the_standard_librarys_kinds_catch_them() -> None:
    assert issubclass(ConfigurationError, ValueError)
    assert issubclass(MissingDependency, ImportError)
    assert issubclass(AuthTimeout, TimeoutError)
    assert issubclass(SessionNotFound, LookupError)


def test_what_a_repetition_can_mend_says_so() -> None:
    assert {error.__name__ for error in ALL if error.retryable} == {
        "AuthTimeout",
        "BrowserClosed",
        "PairingRefused",
        "SessionInUse",
        "SnapshotFailed",
        "TransactionConflict",
        "StoreUnavailable",
        "WebVersionUnavailable",
    }


@pytest.mark.parametrize("error", ALL)
def test_the_message_is_what_was_said(error: type[WWAuthError]) -> None:
    made = AuthTimeout("said", phase="login") if issubclass(error, AuthTimeout) else error("said")
    assert str(made) == "said"
    assert error.__doc__


def test_what_an_error_carries() -> None:
    timeout = AuthTimeout("said", phase="login", url="https://web.whatsapp.com/", last_state="OPENING")
    assert (timeout.phase, timeout.url, timeout.last_state) == ("login", "https://web.whatsapp.com/", "OPENING")
    in_use = SessionInUse("said", holder="host 7", pid=7)
    assert (in_use.holder, in_use.pid) == ("host 7", 7)
    assert SessionClosed("said", reason="LOGOUT").reason == "LOGOUT"


def test_errors_cross_processes_with_what_they_carry() -> None:
    for made in (AuthTimeout("said", phase="login", url="u"), SessionInUse("said", pid=7), SessionClosed("s", reason="r")):
        again = pickle.loads(pickle.dumps(made))
        assert type(again) is type(made)
        assert (str(again), vars(again)) == (str(made), vars(made))
