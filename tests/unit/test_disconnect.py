"""Why a connection ended, in every form that socket libraries tell it, and when to connect again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from wwauth.authstate import disconnect
from wwauth.authstate.disconnect import DisconnectReason, reconnect_policy
from wwauth.errors import ConfigurationError

NAMES = {
    "loggedOut": ("logged_out", 401),
    "forbidden": ("forbidden", 403),
    "connectionLost": ("connection_lost", 408),
    "timedOut": ("timed_out", 408),
    "multideviceMismatch": ("multidevice_mismatch", 411),
    "connectionClosed": ("connection_closed", 428),
    "connectionReplaced": ("connection_replaced", 440),
    "badSession": ("bad_session", 500),
    "unavailableService": ("unavailable_service", 503),
    "restartRequired": ("restart_required", 515),
}
STOPS = {401, 402, 403, 405, 406, 409, 411, 415, 418, 419, 440}


class Boom(Exception):
    def __init__(self, code: object) -> None:
        super().__init__("Stream Errored")
        self.output = SimpleNamespace(statusCode=code)


class Unwilling:
    @property
    def output(self) -> object:
        raise RuntimeError("not now")


@pytest.mark.parametrize(("theirs", "ours"), NAMES.items())
def test_codes_have_baileys_names_and_ours(theirs: str, ours: tuple[str, int]) -> None:
    name, code = ours
    assert DisconnectReason[theirs] is DisconnectReason[name] is getattr(DisconnectReason, name)
    assert DisconnectReason[name] == code
    assert len(DisconnectReason) == len({code for _, code in NAMES.values()})


@pytest.mark.parametrize("code", sorted({code for _, code in NAMES.values()}))
def test_each_reason_says_what_to_do(code: int) -> None:
    reason = DisconnectReason(code)
    assert reason.should_reconnect is (code not in STOPS)
    assert reason.is_logged_out is (code == 401)
    assert reason.advice.startswith("connect again" if reason.should_reconnect else "stop")


@pytest.mark.parametrize(
    "told",
    [
        401,
        401.0,
        "401",
        DisconnectReason.logged_out,
        Boom(401),
        {"statusCode": 401},
        {"output": {"statusCode": 401, "payload": {"statusCode": 401}}},
        {"error": Boom(401), "date": "2026-01-01"},
        {"connection": "close", "lastDisconnect": {"error": {"output": {"statusCode": 401}}}},
        SimpleNamespace(last_disconnect=SimpleNamespace(error=Boom(401))),
        SimpleNamespace(output={"status_code": 401}),
    ],
    ids=str,
)
def test_a_reason_is_found_in_whatever_a_library_hands_over(told: object) -> None:
    assert DisconnectReason.of(told) is DisconnectReason.logged_out
    assert disconnect.is_logged_out(told)
    assert not disconnect.should_reconnect(told)


@pytest.mark.parametrize(
    "told",
    [None, "closed", {}, [], object(), True, float("nan"), Unwilling(), {"error": None}, Boom(None), Boom("x"), 599, 10**400],
)
def test_what_has_no_known_reason_is_tried_again(told: object) -> None:
    assert DisconnectReason.of(told) is None
    assert disconnect.should_reconnect(told)
    assert not disconnect.is_logged_out(told)
    assert disconnect.advice(told)


def test_a_box_that_contains_itself_has_no_reason() -> None:
    box: dict[str, Any] = {}
    box["error"] = box
    assert disconnect.status_code(box) is None


@pytest.mark.parametrize("code", [402, 405, 406, 409, 415, 418, 419])
def test_a_refused_login_without_a_name_stops(code: int) -> None:
    assert DisconnectReason.of(code) is None
    assert disconnect.status_code(Boom(code)) == code
    assert not disconnect.should_reconnect(Boom(code))
    assert disconnect.is_logged_out(code) is (code == 406)
    assert disconnect.advice(code).startswith("stop")
    assert reconnect_policy().delay(code) is None


@pytest.mark.parametrize("code", sorted(STOPS))
def test_no_delay_is_given_for_an_end_that_stays(code: int) -> None:
    policy = reconnect_policy()
    assert policy.delay(code) is None
    assert policy.attempts == 0


def test_delays_double_up_to_the_maximum() -> None:
    policy = reconnect_policy(initial=1, maximum=10, seed=1)
    delays = [policy.delay(DisconnectReason.connection_closed) for _ in range(50)]
    for delay, span in zip(delays, [1, 2, 4, 8, *[10] * 46], strict=True):
        assert delay is not None
        assert span / 2 <= delay <= span
    assert len(set(delays)) == len(delays)
    again = reconnect_policy(initial=1, maximum=10, seed=1)
    assert [again.delay(428) for _ in range(50)] == delays


def test_a_restart_is_at_once_but_not_for_ever() -> None:
    policy = reconnect_policy(attempts=1)
    assert [policy.delay(515) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert policy.delay(515)
    assert policy.delay(515) is None


def test_attempts_end_and_begin_anew_after_a_stable_connection() -> None:
    policy = reconnect_policy(attempts=2, stable_after=0)
    assert [policy.delay(503) is None for _ in range(3)] == [False, False, True]
    policy.connected()
    assert policy.attempts == 2
    delay = policy.delay(503)
    assert delay is not None
    assert delay <= 1
    assert policy.attempts == 1


def test_a_connection_that_does_not_last_changes_nothing() -> None:
    policy = reconnect_policy(attempts=2)
    for _ in range(2):
        assert policy.delay(503)
        policy.connected()
    assert policy.delay(503) is None


@pytest.mark.parametrize(
    "wrong",
    [{"initial": 0}, {"maximum": float("inf")}, {"initial": True}, {"stable_after": -1}, {"attempts": -1}, {"attempts": 1.5}],
    ids=str,
)
def test_wrong_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        reconnect_policy(**wrong)
