"""Auth states for tests: the folders that real Baileys wrote."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from wwauth.authstate import BufferJSON, MemoryAuthStateStore
from wwauth.authstate.names import record_of

FIXTURES = Path(__file__).parents[1] / "fixtures" / "baileys"

# Parts of the secrets in 03-full: the identity's private key, the noise key, a pre-key, in base64.
SECRETS = ("KBkTAAPVomPgLIBXZKMzibAz7kBz1", "CAc5lmPrvovI0zxJI6mWEEmzoPaD50", "2RUhGvHLzZqZdOu4zEOo0H")


def copied(name: str, to: Path) -> Path:
    """Copy a fixture's folder."""
    return Path(shutil.copytree(FIXTURES / name, to))


def files(folder: Path) -> dict[str, bytes]:
    """Return Baileys' files in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if record_of(path.name) is not None}


async def in_memory(name: str, session: str = "one") -> MemoryAuthStateStore:
    """Return a store that has a fixture as a session."""
    store = MemoryAuthStateStore()
    texts = {record: data.decode() for file, data in files(FIXTURES / name).items() if (record := record_of(file)) is not None}
    await store.write(session=session, changes=texts)
    return store


def change_creds(folder: Path, **changes: Any) -> None:
    """Set keys of the credentials in a folder, as Baileys would write them; None deletes one."""
    creds = BufferJSON.loads((folder / "creds.json").read_bytes())
    creds.update(changes)
    creds = {name: value for name, value in creds.items() if value is not None}
    (folder / "creds.json").write_text(BufferJSON.dumps(creds), "utf-8")


def pre_keys(folder: Path) -> set[int]:
    """Return the numbers of the pre-keys in a folder."""
    return {int(path.stem.rpartition("-")[2]) for path in folder.glob("pre-key-*.json")}


def rewritten(folder: Path, file: str, **changes: Any) -> None:
    """Set keys of any other file."""
    value = json.loads((folder / file).read_bytes())
    value.update(changes)
    (folder / file).write_text(json.dumps(value, separators=(",", ":")), "utf-8")
