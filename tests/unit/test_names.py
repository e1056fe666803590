"""The gate for names: what passes, what does not, and how it says so."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wwauth import RemoteAuth
from wwauth._names import check_client_id, check_session_name
from wwauth.errors import ConfigurationError
from wwauth.stores import MemoryStore

ALPHABET = string.ascii_letters + string.digits + "_-"


@given(st.text(ALPHABET, min_size=1, max_size=160))
def test_every_client_id_of_the_alphabet_passes_unchanged(value: str) -> None:
    assert check_client_id(value) == value
    assert check_session_name(value) == value


@given(st.lists(st.text(ALPHABET, min_size=1, max_size=20), min_size=1, max_size=5).map(".".join))
def test_session_names_may_have_dots_between_parts(value: str) -> None:
    assert check_session_name(value) == value


@given(st.text())
def test_what_passes_is_safe_as_a_files_name(value: str) -> None:
    try:
        check_session_name(value)
    except ConfigurationError:
        return
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,200}", value)
    assert not value.startswith(".")
    assert not value.endswith(".")
    assert ".." not in value


@pytest.mark.parametrize("value", [None, ""])
def test_no_client_id_is_none_as_in_whatsapp_web_js(value: str | None) -> None:
    assert check_client_id(value) is None


@pytest.mark.parametrize(
    "value",
    ["a b", "a/b", "..", "a\\b", "a.b", "a\n", "\na", "ä", "e\u0301", "\uff11", "a\0", "a%", "*", 0, 7, True, b"a", ["a"]],
)
def test_a_wrong_client_id_is_named(value: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_client_id(value)
    assert str(caught.value) == f"invalid client_id {value!r}: use ASCII letters, digits, '_' and '-' only"


@pytest.mark.parametrize("value", ["", ".", "..", ".a", "a.", "a..b", "a/b", "../a", "a.b\n", "ä.b", None, 7, b"a"])
def test_a_wrong_session_name_is_named(value: object) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(f"invalid session {value!r}: use ASCII letters")):
        check_session_name(value)


@pytest.mark.parametrize(
    ("check", "what", "longest"), [(check_client_id, "client_id", 160), (check_session_name, "session", 200)]
)
def test_a_long_name_is_cut_in_the_message(check: object, what: str, longest: int) -> None:
    assert callable(check)
    assert check("n" * longest) == "n" * longest
    with pytest.raises(ConfigurationError) as caught:
        check("n" * (longest + 1))
    assert str(caught.value) == f"invalid {what} '{'n' * 20}'…: {longest + 1} characters, {longest} are allowed"


def test_the_longest_client_id_makes_a_session_name() -> None:
    assert check_session_name(RemoteAuth(store=MemoryStore(), client_id="n" * 160).session)
