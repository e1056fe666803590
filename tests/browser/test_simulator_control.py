"""The simulator from outside: its controls over HTTP, its command, its ports and its file."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from wwauth.errors import ConfigurationError
from wwauth.testing import Simulator
from wwauth.testing.simulator import ControlRefused, Timings

from .simulated import QUICK, SITE, chromium_on, the_document, the_page

ROOT = Path(__file__).resolve().parents[2]


def _ask(url: str, method: str, headers: dict[str, str]) -> tuple[int, Any]:
    request = urllib.request.Request(url, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, json.load(exc)


async def ask(simulator: Simulator, path: str, method: str = "POST", **headers: str) -> tuple[int, Any]:
    return await asyncio.to_thread(_ask, f"{simulator.url}control/{path}", method, headers)


@pytest.mark.browser
async def test_a_life_over_http(tmp_path: Path, launch_options: dict[str, Any]) -> None:
    async with Simulator(**QUICK) as simulator, chromium_on(simulator, tmp_path / "profile", launch_options) as (_, page):
        await page.goto(SITE)
        qr = (await the_page(simulator, stage="qr"))["qr"]
        assert (await ask(simulator, "state", "GET"))[1]["pages"][0]["qr"] == qr
        assert await ask(simulator, "rotate-qr") == (200, {"ok": True})
        status, answer = await ask(simulator, f"scan?qr={quote(qr)}")
        assert status == 409
        assert "has expired" in answer["error"]
        qr = (await the_page(simulator, stage="qr"))["qr"]
        # Plus signs that nobody escaped are what shells and browsers' address bars send.
        status, answer = await ask(simulator, f"scan?qr={qr}")
        assert (status, answer["device"]) == (200, "15551234567:1")
        await the_page(simulator, stage="ready")
        assert await ask(simulator, "message?n=30&size=500") == (200, {"ok": True, "stored": 30})
        status, state = await ask(simulator, "state?check=1", "GET")
        assert status == 200
        assert list(state["devices"]) == ["15551234567:1"]
        assert [(each["diagnosis"], each["messages"], each["damaged"]) for each in state["pages"]] == [("ok", 70, 0)]
        assert await ask(simulator, "conflict") == (200, {"ok": True})
        await the_page(simulator, stage="conflict")
        await page.reload()
        await the_document(simulator, page, stage="ready")
        assert await ask(simulator, "drop?ms=60000") == (200, {"ok": True})
        await the_page(simulator, stage="offline")
        assert await ask(simulator, "drop?ms=0") == (200, {"ok": True})
        await the_page(simulator, stage="ready", state="CONNECTED")
        assert await ask(simulator, "push-state?state=PROXYBLOCK") == (200, {"ok": True})
        await the_page(simulator, state="PROXYBLOCK")
        assert await ask(simulator, "logout?device=15551234567:1") == (200, {"ok": True})
        await the_page(simulator, stage="qr", diagnosis="logged-out")
        assert await ask(simulator, "forget") == (200, {"ok": True})


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("POST", "scan", 400, "needs 'qr'"),
        ("POST", "scan?qr=abc", 400, "invalid QR text of 3 characters"),
        ("POST", "scan?qr=a,b,c,d,e", 400, "no page shows the code a"),
        ("POST", "scan?text=abc", 400, "does not know 'text': it takes qr"),
        ("POST", "enter-code?code=ABCD1234", 400, "no page shows the pairing code 'ABCD1234'"),
        ("POST", "logout", 409, "no device is linked: scan a code first"),
        ("POST", "message?n=0", 400, "invalid number of messages 0"),
        ("POST", "message?n=one", 400, "invalid n 'one'"),
        ("POST", "message?size=99999999", 400, "invalid size 99999999"),
        ("POST", "drop", 400, "invalid ms None"),
        ("POST", "drop?ms=-5", 400, "invalid ms '-5'"),
        ("POST", "conflict", 409, "no device is linked"),
        ("POST", "push-state?state=AWAKE", 400, "unknown state 'AWAKE': use one of CONFLICT"),
        ("POST", "push-state?state=TIMEOUT", 409, "no page is open"),
        ("POST", "rotate-qr", 409, "no page shows a code"),
        ("POST", "config", 400, "nothing to configure"),
        ("POST", "config?qr_refresh=0", 400, "invalid qr_refresh '0'"),
        ("POST", "config?qr_refresh=nan", 400, "invalid qr_refresh 'nan'"),
        ("POST", "config?speed=2", 400, "unknown timing 'speed': use one of qr_refresh"),
        ("POST", "forget?now=1", 400, "does not know 'now': it takes none"),
        ("POST", "state", 405, "is asked for with GET, not POST"),
        ("GET", "forget", 405, "is asked for with POST"),
        ("POST", "explode", 404, "there is no /control/explode: use one of config, conflict"),
    ],
)
async def test_a_bad_request_is_answered_with_a_sentence(method: str, path: str, status: int, said: str) -> None:
    async with Simulator() as simulator:
        got, answer = await ask(simulator, path, method)
        assert (got, answer["ok"]) == (status, False)
        assert said in answer["error"]


async def test_a_page_in_a_browser_controls_nothing() -> None:
    async with Simulator() as simulator:
        status, answer = await ask(simulator, "config?qr_refresh=1", Origin=simulator.url.rstrip("/"))
        assert status == 403
        assert "outside the browser" in answer["error"]
        assert simulator.configure(qr_refs=2).qr_refresh == 20


async def test_a_connection_is_lost_before_its_page_has_said_hello() -> None:
    async with Simulator() as simulator, connect(f"ws://127.0.0.1:{simulator.port}/ws") as page:
        await simulator.phone.drop(60)
        keys = dict.fromkeys(("noise", "noisePub", "identity", "adv", "platform"), "")
        await page.send(json.dumps({"type": "hello", "page": "late", "keys": keys, "report": {}}))
        with pytest.raises(ConnectionClosed) as caught:
            await page.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 4000
        assert simulator.pages == []


async def test_who_waits_for_a_change_can_be_cancelled_at_the_moment_of_one() -> None:
    async with Simulator() as simulator:
        waiting = asyncio.create_task(simulator.wait_for(lambda: False, timeout=60))
        for _ in range(5):
            await asyncio.sleep(0)
        simulator.hub.changed()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_timings_change_while_it_runs() -> None:
    async with Simulator(qr_refresh=3, history=5) as simulator:
        status, answer = await ask(simulator, "config?qr_refs=2&fast_restore=true")
        assert status == 200
        assert answer["config"] == Timings(qr_refresh=3, history=5, qr_refs=2, fast_restore=True).model_dump()
        with pytest.raises(ControlRefused, match=r"invalid qr_refs 1\.5"):
            simulator.configure(qr_refs=1.5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"port": -1}, "invalid port -1"),
        ({"port": True}, "invalid port True"),
        ({"tls_port": 70_000}, "invalid tls_port 70000"),
        ({"port": 5, "tls_port": 5}, "both 5"),
        ({"phone_number": "+1555"}, r"invalid phone_number '\+1555'"),
        ({"qr_refresh": 0}, "invalid qr_refresh 0"),
        ({"patience": 1}, "unknown timing 'patience'"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Simulator(**options)


async def test_ports_hosts_and_what_is_not_running() -> None:
    simulator = Simulator()
    with pytest.raises(ConfigurationError, match="does not run"):
        _ = simulator.url
    async with simulator:
        ports = (simulator.port, simulator.tls_port)
        with pytest.raises(ConfigurationError, match="runs already"):
            await simulator.start()
        with pytest.raises(ConfigurationError, match=f"cannot listen on port {ports[0]}"):
            await Simulator(port=ports[0]).start()
        assert simulator.host_resolver_args[0].endswith(f"MAP web.whatsapp.com 127.0.0.1:{ports[1]}")
    await simulator.close()
    async with simulator:
        assert (simulator.port, simulator.tls_port) == ports
    with pytest.raises(ConfigurationError, match=r"invalid host 'nowhere\.invalid'"):
        await Simulator(host="nowhere.invalid").start()


async def test_the_certificate_names_the_real_host() -> None:
    async with Simulator() as simulator:
        pem = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", simulator.tls_port))
        context = ssl.create_default_context(cadata=pem)
        for name in ("127.0.0.1", "localhost", "web.whatsapp.com"):
            reader, writer = await asyncio.open_connection("127.0.0.1", simulator.tls_port, ssl=context, server_hostname=name)
            writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            assert (await reader.readline()).split()[1] == b"200"
            writer.close()
            await writer.wait_closed()


async def test_the_state_file_is_private_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state.json"
    async with Simulator(state_file=path):
        pass
    assert json.loads(path.read_text())["version"] == 1
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
    for text in ("", "[]", '{"version": 2}', '{"version": 1}'):
        path.write_text(text)
        with pytest.raises(ConfigurationError, match="is not one of this simulator's"):
            await Simulator(state_file=path).start()
        assert path.read_text() == text


@pytest.mark.browser
async def test_the_documents_program_runs_as_it_stands(chromium: str, tmp_path: Path) -> None:
    document = (ROOT / "docs" / "simulator.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```$", document, flags=re.MULTILINE | re.DOTALL)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", program),
        cwd=tmp_path,
        env={**os.environ, "WWAUTH_CHROMIUM": chromium},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), 150)
    assert (process.returncode, output.decode()) == (0, "ok 140 0\n"), errors.decode()
    assert b"Traceback" not in errors  # a machine may be so busy that the browser must be killed, and that is said there


def test_the_document_lists_every_timing() -> None:
    document = (ROOT / "docs" / "simulator.md").read_text(encoding="utf-8")
    table = document.partition("## Timings and amounts")[2].partition("## What it is not")[0]
    assert set(re.findall(r"`(\w+)`", table.partition("| name |")[2])) == set(Timings.model_fields)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a process could answer")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_command_runs_until_it_is_told_to_end(number: signal.Signals) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "wwauth", "simulator", "--port", "0", "--tls-port", "0"),
        *("--qr-refresh", "7", "--set", "sync-delay=2"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or "Ctrl-C" not in lines[-1]:
        lines.append((await asyncio.wait_for(process.stdout.readline(), 30)).decode())
        assert lines[-1]
    text = "".join(lines)
    assert "--host-resolver-rules=MAP web.whatsapp.com 127.0.0.1:" in text
    assert "--ignore-certificate-errors" in text
    found = re.search(r"http://127\.0\.0\.1:\d+/", text)
    assert found is not None
    assert "https://127.0.0.1:" in text
    _, config = await asyncio.to_thread(_ask, found[0] + "config.json", "GET", {})
    assert (config["qr_refresh"], config["sync_delay"]) == (7, 2)
    process.send_signal(number)
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, errors.decode()) == (0, "")


async def test_the_command_says_what_is_wrong() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for arguments, said in (
            (["--port", str(port)], f"cannot listen on port {port}"),
            (["--set", "sync_delay"], "invalid --set 'sync_delay'"),
            (["--set", "speed=1"], "unknown timing 'speed'"),
        ):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "wwauth", "simulator", *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            _, errors = await asyncio.wait_for(process.communicate(), 30)
            assert process.returncode == 1
            assert said in errors.decode()
            assert "Traceback" not in errors.decode()
