"""examples/baileys_backup.py: a Node bot's login is backed up, lost, restored, moved to SQLite and given back."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from .peer import HERE

EXAMPLES = HERE.parents[1] / "examples"


def example(name: str) -> Path:
    return EXAMPLES / name


def test_a_bots_login_goes_through_all_hands(node: str, tmp_path: Path) -> None:
    del node
    bot = shutil.copytree(EXAMPLES / "baileys_bot", tmp_path / "baileys_bot", ignore=shutil.ignore_patterns("node_modules"))
    (Path(bot) / "node_modules").symlink_to(HERE / "node_modules", target_is_directory=True)
    program = shutil.copy(example("baileys_backup.py"), tmp_path)
    done = subprocess.run([sys.executable, program], cwd=tmp_path, check=True, capture_output=True, text=True)

    bots = re.findall(r"Bot (\S{44}) has seen (\d+) messages and made (\d+) pre-keys", done.stdout)
    identities, messages, pre_keys = zip(*bots, strict=True)
    assert len(set(identities)) == 1, "another login"
    # One of them was Python's.
    assert messages == ("10", "110", "115", "121")
    assert pre_keys == ("50", "550", "575", "600")
    assert "in SQLite: " in done.stdout
