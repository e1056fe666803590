"""What a long run showed, with when and where, for `docs/evidence/`."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs" / "evidence"


def write_evidence(name: str, *, what: str, command: str, chromium: str | None = None, **found: object) -> None:
    """Write `<date>-<name>.json`, whole or not at all; called before the verdict, so that a bad outcome is kept, too."""
    browser = {} if chromium is None else {"chromium": _version(chromium)}
    now = datetime.now(UTC)
    result = {
        "what": what,
        "when": now.isoformat(timespec="seconds"),
        "command": command,
        **browser,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}, {os.cpu_count()} cores",
        **found,
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{now:%Y-%m-%d}-{name}.json"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", "utf-8")
    temporary.replace(path)


def _version(program: str) -> str:
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout.strip()
