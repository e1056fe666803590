"""The store of stores/README.md, and its test, as they stand there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

README = Path(__file__).resolve().parents[2] / "stores" / "README.md"

# The last two blocks: a store, and its test.
STORE, TEST = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)[-2:]

program: dict[str, Any] = {"__name__": __name__}
exec(compile(STORE, f"{README} (the store)", "exec"), program)
exec(compile(TEST, f"{README} (its test)", "exec"), program)

TestTableStore = program["TestTableStore"]


def test_it_is_as_short_as_a_reader_hopes() -> None:
    assert len(STORE.splitlines()) < 60
