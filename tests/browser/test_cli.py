"""The commands, as processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wwauth._files import remove_tree

from ..soaking import most_in_soak, soak

if TYPE_CHECKING:
    from wwauth.testing import Simulator

pytestmark = pytest.mark.browser


# The command, which may take its time to end: a machine that is busy with other things needs more than is granted elsewhere.
PATIENT = """
from wwauth import _signals
from wwauth.cli import main
from wwauth.web import launched
_signals._DEADLINE, launched.CLOSE_TIMEOUT = 120, 30
main()
"""


async def run(*args: str, timeout: float = 120) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "wwauth", *args, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), timeout)
    return process.returncode, out.decode(), err.decode()


async def test_the_demo_prints_a_summary(chromium: str) -> None:
    code, out, err = await run("demo", "--json", "--messages", "60")
    assert (code, err) == (0, "")
    summary = json.loads(out)
    assert (summary["qr_after_restore"], summary["diagnosis"], summary["damaged"]) == (0, "ok", 0)
    assert summary["messages"] >= 60
    assert summary["backups"] == 2


@soak
async def test_the_demo_is_plain_in_a_pipe_and_keeps_its_files_when_asked(chromium: str) -> None:
    code, out, err = await run("demo", "--keep", "--messages", "20")
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    assert "No QR code was needed" in out
    folder = Path(out.rpartition("The files: ")[2].strip())
    try:
        assert sorted(path.name for path in folder.iterdir()) == ["auth", "store"]
    finally:
        remove_tree(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a process could answer")
@pytest.mark.parametrize(("number", "code"), most_in_soak([(signal.SIGINT, 130), (signal.SIGTERM, 143)]))
async def test_a_demo_that_is_told_to_end_leaves_nothing(chromium: str, number: signal.Signals, code: int) -> None:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "wwauth", "demo", stdout=pipe, stderr=pipe)
    assert process.stdout is not None
    while "linked" not in (line := (await asyncio.wait_for(process.stdout.readline(), 60)).decode()):
        assert line
    process.send_signal(number)
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == code
    assert "Traceback" not in err.decode()
    # Its folder, its browser: found by the guard that every test has.


async def test_a_demo_that_cannot_start_says_why() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "wwauth",
        "demo",
        env={**os.environ, "WWAUTH_CHROMIUM": "/nowhere/chromium"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert "/nowhere/chromium" in err.decode()
    assert "Traceback" not in err.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for another process")
async def test_login_links_once_and_ctrl_c_ends_with_a_backup(simulator: Simulator, tmp_path: Path, chromium: str) -> None:
    store = f"file:{tmp_path / 'store'}"
    args = ["login", "--client-id", "one", "--data-path", str(tmp_path / "auth"), "--store", store, "--web-url", simulator.url]
    for scans in (1, 0):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PATIENT, *args, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        lines: list[str] = []
        while "Connected." not in "".join(lines[-1:]):
            line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
            assert line, lines
            lines.append(line)
            if "Scan this" in line:
                assert any("█▄" in drawn for drawn in lines)
                await simulator.phone.scan(simulator.state()["pages"][-1]["qr"])
        process.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(process.communicate(), 120)
        assert (process.returncode, err.decode()) == (0, "")
        assert "The login is kept" in out.decode()
        assert sum("Scan this" in line for line in lines) == scans
        assert "Logged in as" in "".join(lines)
    assert (tmp_path / "store" / "RemoteAuth-one.zip").is_file()


async def test_login_refuses_a_wrong_number_in_one_sentence(tmp_path: Path) -> None:
    code, _, err = await run("login", "--data-path", str(tmp_path), "--pairing-phone", "+1 555")
    assert code == 1
    assert "phone_number '+1 555'" in err
    assert "Traceback" not in err
