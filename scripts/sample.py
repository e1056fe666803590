"""
Write the sample of the format of packs that tests/fixtures/ holds: python scripts/sample.py FOLDER.

Once for each format, never again for the same one.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "stores")]

from tests.unit.profiles import INDEXED_DB, frame, make_profile, tree  # noqa: E402 - needs the path above
from wwauth.backup import BackupEngine  # noqa: E402
from wwauth.stores import FileSystemStore  # noqa: E402

SESSION = "RemoteAuth-sample"


async def main(folder: Path) -> None:
    """Write three generations, and what each holds."""
    engine = BackupEngine(FileSystemStore(folder), session=SESSION, generations=4)
    expected = {}
    with tempfile.TemporaryDirectory() as work:
        profile = make_profile(Path(work) / SESSION, log=[b"first"], table=b"table " * 500)
        (profile / "Last Version").write_text("156.0.7100.2", "utf-8")
        (profile / "Default" / "IndexedDB" / "https_web.whatsapp.com_0.indexeddb.blob" / "1" / "00" / "3").touch()
        for number in range(1, 4):
            report = await engine.save(profile)
            await BackupEngine(FileSystemStore(folder), session=SESSION).restore(Path(work) / "back")
            files = {name: content for name, content in tree(Path(work) / "back").items() if name.startswith("Default/")}
            expected[report.generation] = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
            with (profile / INDEXED_DB / "000006.log").open("ab") as log:
                log.write(frame([b"more %d" % number], offset=log.tell()))
    text = json.dumps(expected, indent=1, sort_keys=True) + "\n"
    (folder / "expected.json").write_text(text, "utf-8")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
