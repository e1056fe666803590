"""The guard of tests/conftest.py is itself shown to fail what leaks, and to pass what does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONFTEST = ROOT / "tests" / "conftest.py"

LEAKS = """
import asyncio, subprocess, sys, tempfile, threading

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
kept = []

def test_process():
    kept.append(subprocess.Popen(SLEEP))

def test_orphan():
    subprocess.run([sys.executable, "-c", f"import subprocess; subprocess.Popen({SLEEP!r})"], check=True)

def test_thread():
    threading.Thread(target=threading.Event().wait, args=(60,), name="forgotten", daemon=True).start()

def test_folder():
    tempfile.mkdtemp(prefix="wwauth-")

async def test_task():
    kept.append(asyncio.create_task(asyncio.sleep(60)))

async def test_process_of_async_test():
    kept.append(subprocess.Popen(SLEEP))
"""

CLEAN = """
import asyncio, subprocess, sys, tempfile, threading

def test_clean():
    subprocess.run([sys.executable, "-c", ""], check=True)
    with tempfile.TemporaryDirectory(prefix="wwauth-"):
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()

async def test_clean_async():
    await asyncio.create_task(asyncio.sleep(0))
    await asyncio.to_thread(int)
"""


def _run(folder: Path, source: str, *, grace: float) -> subprocess.CompletedProcess[str]:
    conftest = CONFTEST.read_text(encoding="utf-8")
    assert "_GRACE = 30.0" in conftest
    (folder / "conftest.py").write_text(conftest.replace("_GRACE = 30.0", f"_GRACE = {grace}"))
    (folder / "test_it.py").write_text(source)
    options = ["-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder), "-q"]
    command = [sys.executable, "-m", "pytest", *options, str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_each_kind_of_leak_fails_its_test_and_is_named(tmp_path: Path) -> None:
    output = _run(tmp_path, LEAKS, grace=0.2).stdout
    for leak in ("process", "orphan", "thread", "folder", "task", "process_of_async_test"):
        assert f"ERROR at teardown of test_{leak} " in output, output
    for name in ("thread 'forgotten'", "temporary folder", "left tasks behind", "time.sleep(60)"):
        assert name in output
    assert "6 passed, 6 errors" in output


def test_what_leaks_nothing_passes(tmp_path: Path) -> None:
    completed = _run(tmp_path, CLEAN, grace=30.0)
    assert completed.returncode == 0, completed.stdout
    assert "2 passed" in completed.stdout
