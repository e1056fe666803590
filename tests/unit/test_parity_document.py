"""docs/parity.md has a row for each known problem, and names tests and modules that are there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "parity.md").read_text("utf-8")

# The contracts, whose tests run as those of the classes that are derived from them.
TESTING = ROOT / "wwauth" / "testing"
CONTRACTS = {
    "StoreContract": [*(TESTING / "store_contract").glob("*.py")],
    "StrategyContract": [TESTING / "strategy_contract.py"],
}

Row = tuple[str, str, str, str]


def rows(heading: str) -> list[Row]:
    """Return the cells of the table below a heading, without its first two lines."""
    _, _, section = TEXT.partition(f"\n## {heading}\n")
    table = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("|")]
    cells = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table[2:]]
    assert cells
    assert all(len(row) == 4 for row in cells)
    return cells  # type: ignore[return-value]


DEFECTS, PROBLEMS = rows("What stands in the sources"), rows("What users report and ask for")
NAMED = sorted(set(re.findall(r"`([\w/]+\.py(?:::\w+)+)`", TEXT)))


@cache
def names_in(path: Path) -> set[str]:
    """Return the tests of a file: `test_x`, `TestX`, `TestX::test_y`, also those that a class has from a contract."""
    found = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {node.name} if methods(node) else set()
            found |= {f"{node.name}::{name}" for name in methods(node)}
    return found


def methods(node: ast.ClassDef) -> set[str]:
    own = {each.name for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in CONTRACTS:
            for path in CONTRACTS[base.id]:
                classes = [each for each in ast.parse(path.read_text("utf-8")).body if isinstance(each, ast.ClassDef)]
                own |= set().union(*map(methods, classes))
    return {name for name in own if name.startswith("test_")}


def test_every_defect_and_every_problem_has_a_row() -> None:
    assert [row[0] for row in DEFECTS] == [str(number) for number in range(1, 44)]
    numbers = [str(number) for number in range(1, 56)]
    numbers.insert(24, "24b")
    assert [row[0] for row in PROBLEMS] == numbers


def test_a_row_says_what_wwauth_does_and_names_a_test_or_says_not_yet() -> None:
    for _, problem, answer, shown in (*DEFECTS, *PROBLEMS):
        assert problem
        assert answer
        assert re.search(r"`[\w/]+\.py::\w+", shown) or answer.startswith("Not yet")


def test_the_tests_that_are_named_are_there() -> None:
    assert len(NAMED) > 100
    missing = [name for name in NAMED if name.partition("::")[2] not in names_in(ROOT / "tests" / name.partition("::")[0])]
    assert missing == []


def test_the_modules_are_those_of_the_scripts() -> None:
    _, _, section = TEXT.partition("\n## The page's modules\n")
    scripts = [ROOT / "wwauth" / "web" / "bridge.js", ROOT / "wwauth" / "strategies" / "legacy_session_auth.py"]
    asked = {name for script in scripts for name in re.findall(r"'(WA\w+)'", script.read_text("utf-8"))}
    assert set(re.findall(r"`(WA\w+)`", section)) == asked
