"""The programs of the README and of examples/ run as they stand, against the simulator; the documents' links lead somewhere."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.servers.mongodb import MongoDB
    from wwauth.testing import Simulator

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)

# A program that hangs ends with its test; how long it takes is nobody's promise.
TIMEOUT = 120


@pytest.fixture
def run(simulator: Simulator, chromium: str, tmp_path: Path) -> Callable[[str], Awaitable[tuple[str, int]]]:
    """
    Return `await run(source)`: what a program printed in `tmp_path`, and how many QR codes the phone had to scan.

    A program that exits with an error fails the test.
    """

    async def scan_what_is_shown(scanned: set[str]) -> None:
        while True:
            for page in simulator.state()["pages"]:
                if page["qr"] and page["stage"] == "qr" and page["qr"] not in scanned:
                    scanned.add(page["qr"])
                    await simulator.phone.scan(page["qr"])
            await asyncio.sleep(0.05)

    async def run_program(source: str) -> tuple[str, int]:
        program = tmp_path / "program.py"
        program.write_text(source, encoding="utf-8")
        environment = {**os.environ, "WWAUTH_WEB_URL": simulator.url, "WWAUTH_CHROMIUM": chromium}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", program, cwd=tmp_path, env=environment, stdout=-1, stderr=asyncio.subprocess.STDOUT
        )
        scanned: set[str] = set()
        phone = asyncio.create_task(scan_what_is_shown(scanned))
        output = b""
        try:
            output, _ = await asyncio.wait_for(process.communicate(), TIMEOUT)
        finally:
            phone.cancel()
            if process.returncode is None:
                process.terminate()
                output, _ = await process.communicate()
        text = output.decode()
        assert process.returncode == 0, text
        return text, len(scanned)

    return run_program


def program_of_readme(needle: str) -> str:
    """Return the one program of the README that has `needle`, pointed at the simulator."""
    (source,) = [block for block in BLOCKS if needle in block]
    where = "Client(web_url=__import__('os').environ['WWAUTH_WEB_URL'], "
    pointed = re.sub(r"(?<!import )\bClient\((?=\s*auth)", where, source)
    assert pointed != source
    return pointed


def example(name: str) -> str:
    return (ROOT / "examples" / name).read_text(encoding="utf-8")


@pytest.mark.browser
async def test_readme_local_auth(run: Callable[[str], Awaitable[tuple[str, int]]]) -> None:
    program = program_of_readme("LocalAuth()")
    output, scans = await run(program)
    assert scans == 1
    assert "ready:" in output
    output, scans = await run(program)
    assert scans == 0
    assert "ready:" in output


@pytest.mark.browser
async def test_readme_remote_auth(run: Callable[[str], Awaitable[tuple[str, int]]], tmp_path: Path) -> None:
    program = program_of_readme('FileSystemStore("backups/")')
    output, scans = await run(program)
    assert scans == 1
    assert "saved" in output
    shutil.rmtree(tmp_path / ".wwebjs_auth")
    _, scans = await run(program)
    assert scans == 0


@pytest.mark.browser
async def test_readme_mongo(
    run: Callable[[str], Awaitable[tuple[str, int]]], mongodb: MongoDB, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MONGODB_URI", mongodb.url("readme"))
    program = program_of_readme("MONGODB_URI")
    output, scans = await run(program)
    assert scans == 1
    assert "ready:" in output
    assert "saved" in output
    shutil.rmtree(tmp_path / ".wwebjs_auth")
    output, scans = await run(program)
    assert scans == 0
    assert "ready:" in output


@pytest.mark.browser
async def test_readme_custom_strategy(run: Callable[[str], Awaitable[tuple[str, int]]], tmp_path: Path) -> None:
    program = program_of_readme("class FolderAuth(AuthStrategy)")
    output, scans = await run(program)
    assert scans == 1
    assert "no login in" in output
    assert f"the login in {tmp_path / 'vault' / 'whatsapp'} was accepted" in output
    output, scans = await run(program)
    assert scans == 0
    assert "no login in" not in output
    assert output.endswith("ready\n")


@pytest.mark.browser
async def test_readme_a_client_that_stays_up(run: Callable[[str], Awaitable[tuple[str, int]]]) -> None:
    output, scans = await run(program_of_readme("restart_on_crash=5"))
    assert scans == 1
    assert output.endswith("alive: True\n")


def test_readme_first_example() -> None:
    namespace: dict[str, object] = {}
    exec(compile(BLOCKS[0], "README.md", "exec"), namespace)
    assert type(namespace["client"]).__name__ == "Client"


def test_every_program_of_the_readme_is_run_here() -> None:
    assert len(BLOCKS) == 7


@pytest.mark.browser
async def test_example_quickstart(run: Callable[[str], Awaitable[tuple[str, int]]], tmp_path: Path) -> None:
    output, scans = await run(example("quickstart.py"))
    assert scans == 1
    assert "logged in as" in output
    assert [path.name for path in tmp_path.iterdir()] == ["program.py"], "NoAuth keeps nothing"


@pytest.mark.browser
async def test_example_local_auth(run: Callable[[str], Awaitable[tuple[str, int]]]) -> None:
    _, scans = await run(example("local_auth.py"))
    assert scans == 1
    output, scans = await run(example("local_auth.py"))
    assert scans == 0
    assert output.startswith("the login was accepted\nready: ")


@pytest.mark.browser
async def test_example_legacy_session(
    run: Callable[[str], Awaitable[tuple[str, int]]], simulator: Simulator, tmp_path: Path
) -> None:
    simulator.configure(legacy=True)
    output, scans = await run(example("legacy_session.py"))
    assert scans == 1
    session = tmp_path / "session.json"
    if os.name == "posix":
        assert session.stat().st_mode & 0o777 == 0o600
    saved = json.loads(session.read_text(encoding="utf-8"))
    assert sorted(saved) == ["WABrowserId", "WASecretBundle", "WAToken1", "WAToken2"]
    assert not any(value in output for value in saved.values())
    output, scans = await run(example("legacy_session.py"))
    assert scans == 0
    assert output == "the session is in session.json\nready: 15551234567@c.us\n"
    assert {path.name for path in tmp_path.iterdir()} == {"program.py", "session.json"}


@pytest.mark.browser
async def test_example_remote_auth(run: Callable[[str], Awaitable[tuple[str, int]]], tmp_path: Path) -> None:
    output, scans = await run(example("remote_auth.py"))
    assert scans == 1
    assert "the login is in the store" in output
    shutil.rmtree(tmp_path / ".wwebjs_auth")
    _, scans = await run(example("remote_auth.py"))
    assert scans == 0


@pytest.mark.browser
async def test_example_encrypted_store(run: Callable[[str], Awaitable[tuple[str, int]]], tmp_path: Path) -> None:
    output, scans = await run(example("encrypted_store.py"))
    assert scans == 1
    assert "encrypted for age1" in output
    assert "AGE-SECRET-KEY-" not in output
    assert (tmp_path / "backups" / "RemoteAuth-example.zip").read_bytes().startswith(b"age-encryption.org/v1\n")
    shutil.rmtree(tmp_path / ".wwebjs_auth")
    _, scans = await run(example("encrypted_store.py"))
    assert scans == 0


@pytest.mark.browser
async def test_example_multiple_sessions(run: Callable[[str], Awaitable[tuple[str, int]]]) -> None:
    output, scans = await run(example("multiple_sessions.py"))
    assert scans == 2
    for name in ("client-one", "client-two"):
        assert f"{name} is ready" in output
        assert re.search(rf"^{name}: .*pid \d+", output, flags=re.MULTILINE)
    _, scans = await run(example("multiple_sessions.py"))
    assert scans == 0


@pytest.mark.browser
async def test_example_composed_strategy(run: Callable[[str], Awaitable[tuple[str, int]]], tmp_path: Path) -> None:
    output, scans = await run(example("composed_strategy.py"))
    assert scans == 1
    assert output.endswith("the login is kept by: remote\nready\n")
    shutil.rmtree(tmp_path / ".wwebjs_auth")
    _, scans = await run(example("composed_strategy.py"))
    assert scans == 0
    shutil.rmtree(tmp_path / "backups")
    (tmp_path / ".wwebjs_auth" / "RemoteAuth-example").rename(tmp_path / ".wwebjs_auth" / "session-example")
    output, scans = await run(example("composed_strategy.py"))
    assert (output, scans) == ("the login is kept by: local\nready\n", 0)


@pytest.mark.browser
async def test_example_profile_per_user(run: Callable[[str], Awaitable[tuple[str, int]]]) -> None:
    output, scans = await run(example("profile_per_user.py"))
    assert scans == 2
    assert "Ann is ready" in output
    assert "Bob is ready" in output
    assert "no user 'Eve' in " in output
    _, scans = await run(example("profile_per_user.py"))
    assert scans == 0


async def test_readme_socket_clients(run: Callable[[str], Awaitable[tuple[str, int]]]) -> None:
    (source,) = [block for block in BLOCKS if "use_multi_file_auth_state" in block]
    output, _ = await run(source)
    assert output == "{'15551234567': ['0', '7']}\n"


async def test_example_custom_store(run: Callable[[str], Awaitable[tuple[str, int]]]) -> None:
    output, _ = await run(example("custom_store.py"))
    assert output == "there and back: True\ndeleted: True\n"


async def test_example_lmdb_store(run: Callable[[str], Awaitable[tuple[str, int]]]) -> None:
    pytest.importorskip("lmdb")
    output, _ = await run(example("lmdb_store.py"))
    assert output == "there and back: True\nRemoteAuth-example 26 bytes\n"


async def test_example_auth_states(run: Callable[[str], Awaitable[tuple[str, int]]]) -> None:
    output, _ = await run(example("auth_states.py"))
    refused, user2 = output.splitlines()
    assert refused.startswith("refused: ")
    assert user2 == "user2 comes back with 2 updates and ['15550002222.0']"


def test_every_example_says_what_it_shows_and_how_to_run_it_and_is_run_here() -> None:
    names = {path.name for path in (ROOT / "examples").glob("*.py")}
    for name in names:
        assert "To run" in example(name).split('"""')[1]
        assert f"python examples/{name}" in example(name).split('"""')[1]
    # The one that needs Node stands with the tests that have it.
    tests = (Path(__file__), ROOT / "tests" / "interop" / "test_baileys_example.py")
    here = "".join(path.read_text(encoding="utf-8") for path in tests)
    assert names == set(re.findall(r'example\("(\w+\.py)"\)', here))


DOCUMENTS = sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_between_documents_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{document} links to {target}, which is not there"
