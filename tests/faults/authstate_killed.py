"""
The process that is killed while it writes an auth state: credentials, batches of keys, and both in one transaction.

What it writes follows from the number of the step, so that whoever looks afterwards knows what must be there.
"""

from __future__ import annotations

import os
import random
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wwauth.authstate import use_multi_file_auth_state, use_sql_auth_state
from wwauth.errors import StoreUnavailable

from .killed import KILL, fork_workers, tell

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wwauth.authstate import AuthenticationState

SESSION = "bot-1"

# Few enough that most are replaced and deleted again and again; one type's ids need escapes in names of files.
IDS = {
    "pre-key": [str(n) for n in range(1, 61)],
    "session": [f"1555{n:04d}.{n % 3}" for n in range(30)],
    "sender-key": [f"1203630000{n:02d}@g.us::1555{n:04d}::0" for n in range(15)],
    "lid-mapping": [f"99{n:03d}_reverse" for n in range(10)],
}

_OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.link", "os.truncate", "os.listdir", "os.scandir", "os.chmod"}

Keys = dict[str, dict[str, Any]]


@dataclass(slots=True)
class Step:
    """
    One write.

    Attributes:
        keys: What `set` is given; empty: the step is of the credentials alone.
        creds: Whether the credentials are saved, too.
    """

    number: int
    keys: Keys
    creds: bool


@dataclass(slots=True)
class Contents:
    """What an auth state holds after some steps: the last step of the credentials, and the records."""

    creds: int = 0
    keys: Keys = field(default_factory=dict)

    def after(self, step: Step) -> Contents:
        """Return what it holds after one more step."""
        keys = {type_: dict(records) for type_, records in self.keys.items()}
        for type_, records in step.keys.items():
            kept = keys.setdefault(type_, {})
            for id_, value in records.items():
                if value is None:
                    kept.pop(id_, None)
                else:
                    kept[id_] = value
        return Contents(step.number if step.creds else self.creds, {type_: kept for type_, kept in keys.items() if kept})


def step_of(seed: int, number: int) -> Step:
    """Return a step by its number: saves of credentials, batches, and both as a top-up of pre-keys does it."""
    dice = random.Random(f"{seed}/{number}")
    kind = dice.choices(["creds", "set", "both"], [4, 4, 2])[0]
    keys: Keys = {}
    if kind != "creds":
        for _ in range(dice.choice([1, 2, 5, 40])):
            type_ = "pre-key" if kind == "both" else dice.choice(list(IDS))
            id_ = dice.choice(IDS[type_])
            keys.setdefault(type_, {})[id_] = None if dice.random() < 0.25 else _value(type_, dice)
    return Step(number, keys, creds=kind != "set")


def _value(type_: str, dice: random.Random) -> Any:
    match type_:
        case "pre-key":
            return {"private": dice.randbytes(32), "public": dice.randbytes(32)}
        case "session":
            return {"_sessions": {"BQ==": {"registrationId": dice.randrange(16384), "x": "A" * dice.choice([10, 900, 6000])}}}
        case "sender-key":
            return dice.randbytes(dice.choice([100, 1500]))
        case _:
            return str(dice.randrange(10**12))


async def open_state(place: str) -> tuple[AuthenticationState, Callable[[], Awaitable[None]]]:
    """Open the auth state in a folder, or behind a URL."""
    if "://" in place:
        return await use_sql_auth_state(place, session=SESSION)
    return await use_multi_file_auth_state(Path(place))


def written_by(state: AuthenticationState) -> int:
    """Return the number of the step that the credentials are of."""
    return int((state.creds.get("additionalData") or {"step": 0})["step"])


async def work(job: dict[str, Any]) -> None:
    """Open a state, and write one step after the other; `steps` false: open it only."""
    if job["fatal"] is not None and not job["steps"]:
        _die_at(job["fatal"])
    state, save_creds = await open_state(job["place"])
    tell("opened")
    if job["fatal"] is not None and job["steps"]:
        _die_at(job["fatal"])
    number = job["number"]
    try:
        while job["steps"]:
            step = step_of(job["seed"], number)
            tell("begin", number=number)
            await write(state, save_creds, step)
            tell("done", number=number)
            number += 1
    except StoreUnavailable:
        tell("refused", number=number)
    tell("idle")
    sys.stdin.read()


async def write(state: AuthenticationState, save_creds: Callable[[], Awaitable[None]], step: Step) -> None:
    def change() -> None:
        state.creds["accountSyncCounter"] = step.number
        state.creds["additionalData"] = {"step": step.number, "bytes": random.Random(step.number).randbytes(step.number % 900)}

    if step.creds and step.keys:
        async with state.keys.transaction("pre-keys"):
            await state.keys.set(step.keys)
            change()
            await save_creds()
    elif step.creds:
        change()
        await save_creds()
    else:
        await state.keys.set(step.keys)


def _die_at(operation: int) -> None:
    """Die before an operation on files, counted from now on: what lies between two is too short for a moment by chance."""
    left = operation

    def count(event: str, _: tuple[Any, ...]) -> None:
        nonlocal left
        # A kill is an event, too.
        if event in _OPERATIONS:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), KILL)

    sys.addaudithook(count)


def nursery() -> None:
    fork_workers(work)
