"""
What goes wrong around a folder, on unmodified Baileys and on wwauth: the table of docs/authstate.md.

Each scenario starts from the same folder, which real Baileys wrote. What the table says is what was met.

To run: npm ci --prefix tests/interop, then python benchmarks/_authstate_failures.py [--write]
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "stores")]  # what is measured is this checkout

from benchmarks._tables import table  # noqa: E402
from tests.faults import authstate_failing as failing  # noqa: E402
from tests.faults.authstate_failing import COUNT, FILES, WWAUTH, Outcome, contents, environment, identity_in, is_json, run  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.faults.authstate_failing import Scenario

BAILEYS = ("node", str(ROOT / "benchmarks" / "_authstate_failures.mjs"))
FIXTURE = ROOT / "tests" / "fixtures" / "baileys" / "03-full"
DOCUMENT = ROOT / "docs" / "authstate.md"
BEGIN, END = "<!-- authstate failures: begin -->\n", "<!-- authstate failures: end -->"

KILLS = 40
SECONDS = 3

SCENARIOS: dict[str, Scenario] = {
    "the disk is full while the credentials are saved": failing.full_disk,
    "the disk is full while five pre-keys are set": failing.full_disk_set,
    f"{COUNT} pre-keys are set by a process that may have {FILES} files open": failing.few_files_set,
    f"{COUNT} pre-keys are read by such a process": failing.few_files_get,
    "the folder is read-only, and the credentials are saved": failing.read_only,
    "`creds.json` cannot be read (its mode), then what a bot does: start, save": failing.unreadable_creds,
    "one of ten pre-keys cannot be read (its mode)": failing.unreadable_key,
    "one of ten pre-keys is torn": failing.torn_key,
    "`creds.json` is empty, then: start, save": failing.empty_creds,
    "`creds.json` is torn, then: start, save": failing.torn_creds,
}


def cell(scenario: Scenario, program: Sequence[str], folder: Path) -> str:
    return words(scenario(program, folder))


def words(outcome: Outcome) -> str:
    """Say what came of a scenario."""
    said = [f"`{outcome.error}`" if outcome.error else "no error"]
    if outcome.found is not None:
        said.append(f"{outcome.found} records given")
    if not outcome.changed:
        said.append("nothing changed")
    elif outcome.lost:
        said.append(f"{files(outcome.lost)} lost")
    elif outcome.same_login or outcome.torn:
        torn = f", {len(outcome.torn)} of them torn" if outcome.torn else ""
        said.append(f"{files(outcome.changed)} written{torn}")
    if outcome.next_error:
        said.append(f"the next start: `{outcome.next_error}`, the bytes are kept")
    elif not outcome.same_login:
        said.append("**the next start: a new identity**")
    return "; ".join(said)


def files(names: Sequence[str]) -> str:
    return f"`{names[0]}`" if len(names) == 1 else f"{len(names)} files"


def kills(program: Sequence[str], folder: Path) -> str:
    """Kill a process that saves credentials without end, again and again."""
    dice, identity, torn, new = random.Random(1), identity_in(folder), 0, 0
    for _ in range(KILLS):
        with looping(program, folder):
            time.sleep(dice.uniform(0.02, 0.2))
        torn += not is_json(contents(folder)["creds.json"])
        started = run(program, {"folder": str(folder), "do": "open"})
        # Baileys makes another login and says nothing; it is saved when the bot goes on.
        if started.get("identity") != identity:
            new += 1
            shutil.copy(FIXTURE / "creds.json", folder)
    return f"`creds.json` torn in {torn} of {KILLS}; {'**a new identity**' if new else 'a new identity'} in {new} of {KILLS}"


def two_processes(program: Sequence[str], folder: Path) -> str:
    """Two processes on one folder, and a third that reads the credentials."""
    with looping(program, folder) as first:
        second = subprocess.Popen(
            [*program, json.dumps({"folder": str(folder), "do": "loop"})],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=environment(),
        )
        try:
            assert second.stdout is not None
            told = json.loads(second.stdout.readline())
            seen = run(BAILEYS, {"folder": str(folder), "do": "read", "seconds": SECONDS})
        finally:
            second.kill()
            second.communicate()
        assert first.poll() is None, "the first process ended"
    said = f"the second is told `{told['error']}`" if told["error"] else "both go on, unaware of each other"
    return f"{said}; of {seen['reads']:,} reads of `creds.json` {seen['torn']:,} met a torn file"


@contextlib.contextmanager
def looping(program: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Have a process save credentials without end; it is killed."""
    command = [*program, json.dumps({"folder": str(folder), "do": "loop"})]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment())
    try:
        assert process.stdout is not None
        assert process.stdout.readline(), "it did not start"
        yield process
    finally:
        process.kill()
        process.communicate()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"put the table into {DOCUMENT.relative_to(ROOT)}")
    options = parser.parse_args()
    cells: dict[str, Callable[[Sequence[str], Path], str]] = {
        name: partial(cell, scenario) for name, scenario in SCENARIOS.items()
    }
    cells[f"SIGKILL while the credentials are saved without end, {KILLS} times"] = kills
    cells[f"two processes save the credentials, and a third reads them, {SECONDS} s"] = two_processes
    rows = []
    with tempfile.TemporaryDirectory(prefix="wwauth-bench-") as work:
        for number, (name, met) in enumerate(cells.items()):
            row = [name]
            for side, program in enumerate((BAILEYS, WWAUTH)):
                folder = Path(shutil.copytree(FIXTURE, Path(work) / f"{number}-{side}"))
                row.append(met(program, folder))
            print(" | ".join(row), file=sys.stderr, flush=True)
            rows.append(row)
    today = datetime.datetime.now(datetime.UTC).date()
    lines = [
        *table(["what happens", "Baileys 7.0.0-rc14", "wwauth"], rows),
        "",
        f"Met on {today}, each on a copy of one folder that Baileys wrote, by `python benchmarks/_authstate_failures.py`.",
    ]
    text = "\n".join(lines)
    if options.write:
        before, _, rest = DOCUMENT.read_text("utf-8").partition(BEGIN)
        DOCUMENT.write_text(before + BEGIN + text + "\n" + END + rest.partition(END)[2], "utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
