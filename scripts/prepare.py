"""
Set up what the Makefile's targets need; the standard library only, since nothing is installed yet.

`prepare.py venv FOLDER`: a virtual environment with wwauth (editable) and its development tools.
`prepare.py chromium`: run inside that environment; makes sure that wwauth finds a Chromium that starts.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# A download that hangs must not hang the build: Debian's package comes next.
DOWNLOAD_TIMEOUT = 300
APT_TIMEOUT = 600


def main(arguments: list[str]) -> None:
    """Run one step; anything that cannot be had ends in a sentence that says what to install."""
    match arguments:
        case ["venv", folder]:
            prepare_venv(Path(folder))
        case ["chromium"]:
            prepare_chromium()
        case _:
            sys.exit(__doc__)


def prepare_venv(folder: Path) -> None:
    """Create the environment unless a working one is there, and install into it."""
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not _works([str(python), "-m", "pip", "--version"]):
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        if importlib.util.find_spec("ensurepip") is None and not _apt_install(package):
            sys.exit(f"{sys.executable} cannot make virtual environments: apt install {package}, then run make again")
        # A process of its own, since this one may have started before ensurepip was there.
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
    _run([str(python), "-m", "pip", "install", "--quiet", "--editable", f"{ROOT}[all,dev]"])


def prepare_chromium() -> None:
    """Look where wwauth itself looks; then Playwright's download, then the system's package."""
    if _chromium_works():
        return
    playwright = [sys.executable, "-m", "playwright"]
    _try([*playwright, "install", "--no-shell", "chromium"], timeout=DOWNLOAD_TIMEOUT)
    if _chromium_works() or (_apt_install("chromium") and _chromium_works()):
        return
    sys.exit(
        "no Chromium that starts: `apt install chromium`, or `.venv/bin/playwright install --with-deps chromium`, or "
        "set WWAUTH_CHROMIUM to the path of one, then run make again"
    )


def _chromium_works() -> bool:
    """Tell whether the Chromium that wwauth would start can be started; a wrong WWAUTH_CHROMIUM ends here."""
    from wwauth.errors import BrowserNotFound  # noqa: PLC0415 - the `venv` step runs before it is installed
    from wwauth.web.find import find_chromium  # noqa: PLC0415

    try:
        found = find_chromium({}, bundled="")
    except BrowserNotFound as exc:
        if os.environ.get("WWAUTH_CHROMIUM"):
            sys.exit(str(exc))
        found = _playwrights_own()
    # A downloaded Chromium may lack shared libraries that the system's package would have brought.
    return found is not None and _works([found, "--version"])


def _playwrights_own() -> str | None:
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def _apt_install(package: str) -> bool:
    """Install a Debian package if there is apt and the right to use it; False when there is not, or it failed."""
    if shutil.which("apt-get") is None or sys.platform == "win32":
        return False
    sudo: list[str] = []
    if os.geteuid() != 0:
        if shutil.which("sudo") is None or not _works(["sudo", "-n", "true"]):
            return False
        sudo = ["sudo", "-n"]
    apt = [*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    # The list of packages may be old or absent; when it cannot be renewed, the install says what is wrong.
    _try([*apt, "update"], timeout=APT_TIMEOUT)
    return _try([*apt, "install", "-y", "--no-install-recommends", package], timeout=APT_TIMEOUT)


def _works(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False).returncode == 0
    except OSError:
        return False


def _try(command: list[str], *, timeout: float) -> bool:
    _say(command)
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, timeout=timeout, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired) as exc:
        print(exc, file=sys.stderr)
        return False


def _run(command: list[str]) -> None:
    _say(command)
    if (code := subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode) != 0:
        sys.exit(code)


def _say(command: list[str]) -> None:
    print("+", *command, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
