"""
What goes wrong around an auth state in a folder: a full disk, too few files, modes, damage; on wwauth and on its peer.

Each scenario lets one program open a folder with a login, under a limit or with something amiss, and do one thing; `Outcome` is
what the program was told, what the folder holds then, and what the next start finds. wwauth's program is this module
(`python -m`), the peer's `benchmarks/_authstate_failures.mjs`; both take the same words.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wwauth.authstate import use_multi_file_auth_state
from wwauth.authstate.curve import generate_key_pair
from wwauth.errors import WWAuthError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    Scenario: TypeAlias = Callable[[Sequence[str], Path], "Outcome"]

ROOT = Path(__file__).parents[2]
WWAUTH = (sys.executable, "-m", "tests.faults.authstate_failing")

COUNT, FILES = 812, 256
"""As many pre-keys as a first upload has, and the file descriptors of a process on macOS or in a careful container."""

_TIMEOUT = 120.0


@dataclass(frozen=True)
class Outcome:
    """
    What came of a scenario.

    Attributes:
        error: The kind of error that the program was given; "": none.
        message: Its words.
        found: How many of the records that it asked for it was given; None: it asked for none.
        changed: The names of Baileys' files that hold something else than before, or are gone, or are new.
        torn: Those of them that are there and hold no JSON.
        lost: Those of them that held JSON before and hold none now, or are gone.
        next_error: The kind of error that the next start is given; "": none.
        same_login: Whether the next start has the login that was there.
    """

    error: str
    message: str
    found: int | None
    changed: tuple[str, ...]
    torn: tuple[str, ...]
    lost: tuple[str, ...]
    next_error: str
    same_login: bool


def run(
    program: Sequence[str], job: dict[str, Any], *, limit: Callable[[], None] | None = None, mind_modes: bool = False
) -> dict[str, Any]:
    """Let a program do one thing, in a process of its own, which `limit` is called in first."""
    # Root does not mind modes, as long as it has these.
    root = sys.platform != "win32" and os.geteuid() == 0
    before = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if mind_modes and root else ()
    done = subprocess.run(
        [*before, *program, json.dumps(job)],
        stdout=subprocess.PIPE,
        check=True,
        cwd=ROOT,
        env=environment(),
        preexec_fn=limit,
        timeout=_TIMEOUT,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "stores"), *filter(None, sys.path)])}


def look(
    program: Sequence[str],
    folder: Path,
    job: dict[str, Any],
    *,
    damage: Callable[[], None] = lambda: None,
    repair: Callable[[], None] = lambda: None,
    **how: Any,
) -> Outcome:
    """Let a program do one thing in a folder, between `damage` and `repair`, and start once more; say what came of it."""
    identity, before = identity_in(folder), contents(folder)
    damage()
    before |= {name: data for name, data in contents(folder).items() if data is not None}
    told = run(program, {"folder": str(folder), **job}, **how)
    repair()
    after = contents(folder)
    started = run(program, {"folder": str(folder), "do": "open"})
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return Outcome(
        error=told["error"],
        message=told.get("message", ""),
        found=told.get("found"),
        changed=tuple(changed),
        torn=tuple(name for name in changed if name in after and not is_json(after[name])),
        lost=tuple(name for name in changed if is_json(before.get(name)) and not is_json(after.get(name))),
        next_error=started["error"],
        same_login=started.get("identity") == identity,
    )


def contents(folder: Path) -> dict[str, bytes | None]:
    """Return what Baileys' files hold, None for one that is not to be read."""
    return {path.name: path.read_bytes() if path.stat().st_mode & 0o400 else None for path in folder.glob("*.json")}


def is_json(data: bytes | None) -> bool:
    try:
        json.loads(data or b"")
    except ValueError:
        return False
    return True


def identity_in(folder: Path) -> str:
    identity: str = json.loads((folder / "creds.json").read_bytes())["signedIdentityKey"]["public"]["data"]
    return identity


def full_disk(program: Sequence[str], folder: Path) -> Outcome:
    """The credentials grow past the largest file that the process may write."""
    return look(program, folder, {"do": "save", "bytes": 10_000}, limit=partial(_limit, "RLIMIT_FSIZE", 4096))


def full_disk_set(program: Sequence[str], folder: Path) -> Outcome:
    """A batch of records, one of which is too large for the disk."""
    return look(program, folder, {"do": "set", "count": 5, "bytes": 10_000}, limit=partial(_limit, "RLIMIT_FSIZE", 4096))


def few_files_set(program: Sequence[str], folder: Path) -> Outcome:
    """A first upload of pre-keys by a process that may have few files open."""
    return look(program, folder, {"do": "set", "count": COUNT}, limit=partial(_limit, "RLIMIT_NOFILE", FILES))


def few_files_get(program: Sequence[str], folder: Path) -> Outcome:
    """All of them read by such a process."""
    run(WWAUTH, {"folder": str(folder), "do": "set", "count": COUNT})
    return look(program, folder, {"do": "get", "count": COUNT}, limit=partial(_limit, "RLIMIT_NOFILE", FILES))


def read_only(program: Sequence[str], folder: Path) -> Outcome:
    """A folder that is not to be written to, nor are its files."""
    return look(
        program,
        folder,
        {"do": "save", "bytes": 10},
        damage=partial(_modes, folder, 0o500, 0o400),
        repair=partial(_modes, folder, 0o700, 0o600),
        mind_modes=True,
    )


def unreadable_creds(program: Sequence[str], folder: Path) -> Outcome:
    """Credentials that can be written and not be read: a start, and the save that follows each start."""
    path = folder / "creds.json"
    return look(
        program,
        folder,
        {"do": "save", "bytes": 10},
        damage=partial(path.chmod, 0o200),
        repair=partial(path.chmod, 0o600),
        mind_modes=True,
    )


def unreadable_key(program: Sequence[str], folder: Path) -> Outcome:
    """A record that cannot be read, among ten."""
    run(WWAUTH, {"folder": str(folder), "do": "set", "count": 10})
    path = folder / "pre-key-1001.json"
    return look(
        program,
        folder,
        {"do": "get", "count": 10},
        damage=partial(path.chmod, 0o200),
        repair=partial(path.chmod, 0o600),
        mind_modes=True,
    )


def torn_key(program: Sequence[str], folder: Path) -> Outcome:
    """A record of which half is there, among ten."""
    run(WWAUTH, {"folder": str(folder), "do": "set", "count": 10})
    return look(program, folder, {"do": "get", "count": 10}, damage=partial(_tear, folder / "pre-key-1001.json", 2))


def empty_creds(program: Sequence[str], folder: Path) -> Outcome:
    """Credentials of no bytes, as a crash of Baileys leaves them."""
    return look(program, folder, {"do": "save", "bytes": 10}, damage=partial(_tear, folder / "creds.json", 0))


def torn_creds(program: Sequence[str], folder: Path) -> Outcome:
    """Half of the credentials."""
    return look(program, folder, {"do": "save", "bytes": 10}, damage=partial(_tear, folder / "creds.json", 2))


def _limit(what: str, most: int) -> None:
    if sys.platform == "win32":
        raise NotImplementedError
    import resource

    resource.setrlimit(getattr(resource, what), (most, most))


def _modes(folder: Path, of_folder: int, of_files: int) -> None:
    folder.chmod(0o700)
    for path in folder.iterdir():
        path.chmod(of_files)
    folder.chmod(of_folder)


def _tear(path: Path, part: int) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // part] if part else b"")


async def _do(job: dict[str, Any]) -> dict[str, Any]:
    ids = [str(1001 + n) for n in range(job.get("count", 0))]
    state, save_creds = await use_multi_file_auth_state(Path(job["folder"]))
    async with state:
        match job["do"]:
            case "save":
                state.creds["additionalData"] = {"note": "x" * job["bytes"]}
                await save_creds()
            case "set":
                values: dict[str, Any] = {id_: generate_key_pair() for id_ in ids}
                if "bytes" in job:
                    values[ids[-1]]["note"] = "x" * job["bytes"]
                await state.keys.set({"pre-key": values})
            case "get":
                return {"found": len(await state.keys.get("pre-key", ids))}
            case "loop":
                _say({"error": ""})
                while True:
                    state.creds["accountSyncCounter"] += 1
                    await save_creds()
        return {
            "identity": json.loads((Path(job["folder"]) / "creds.json").read_bytes())["signedIdentityKey"]["public"]["data"]
        }


def main() -> None:
    """Do what the argument says, and print what came of it."""
    try:
        told = {"error": "", **asyncio.run(_do(json.loads(sys.argv[1])))}
    except WWAuthError as error:
        told = {"error": type(error).__name__, "message": str(error)}
    _say(told)


def _say(told: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
