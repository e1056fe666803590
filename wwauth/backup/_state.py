"""The note inside a profile that tells which backup it was last equal to. Everything here blocks."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .._files import replacing
from .index import PackName

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger(__name__)

# Inside the profile, so that it comes and goes with it.
STATE_FILE = "wwauth-backup.json"

_TOKEN = re.compile(r"[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class ProfileState:
    """
    What a profile tells of its backups.

    Attributes:
        generation: The backup that the profile was saved to or restored from; 0: none.
        content: The digest of what was saved or restored.
        seen: The newest generation that was in the store then, which an older one may have been restored past.
        lineage: The login's token; empty: not known.
        writer: The token of the engine that saved last, so that a commit whose note was lost is known for the profile's own.
        packs: The backup lies in packs, not in a plain zip.
        garbage: Packs that may lie in the store, and that no index names.
    """

    generation: int = 0
    content: str = ""
    seen: int = 0
    lineage: str = ""
    writer: str = ""
    packs: bool = False
    garbage: tuple[PackName, ...] = ()


def read_state(path: Path, session: str) -> ProfileState | None:
    """Return what the note at `path` tells; None: nothing, or nothing of this session."""
    try:
        state = json.loads(path.read_text("utf-8"))
        return _parse(state) if state["session"] == session else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as exc:
        _log.warning("%s cannot be read and is not used: %s", path, exc)
        return None


def _parse(state: dict[str, Any]) -> ProfileState:
    generation = int(state["generation"])
    found = ProfileState(
        generation=generation,
        content=str(state["content"]),
        seen=int(state.get("seen", generation)),
        lineage=_token(state.get("lineage", "")),
        writer=_token(state.get("writer", "")),
        packs=state.get("packs", False) is True,
        garbage=tuple(PackName(int(item["generation"]), _token(item["writer"])) for item in state.get("garbage", ())),
    )
    if found.generation < 0 or found.seen < 0 or any(name.generation < 1 or not name.writer for name in found.garbage):
        raise ValueError("a number in it is out of range")
    return found


def _token(value: object) -> str:
    if value != "" and (not isinstance(value, str) or _TOKEN.fullmatch(value) is None):
        raise ValueError(f"{value!r} is no token")
    return str(value)


def write_state(path: Path, session: str, state: ProfileState) -> None:
    """Write the note; `OSError`: it could not be written."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({"session": session, **asdict(state)}), "utf-8")
