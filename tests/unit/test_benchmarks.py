"""The benchmarks' own arithmetic, and that what they name in the engine is there."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def module(name: str) -> Any:
    return importlib.import_module(f"benchmarks.{name}")


def test_sums_are_on_straight_lines_between_samples() -> None:
    over_all = module("_report").over_all
    assert over_all(5, [(0, 10.0), (4, 30.0)]) == 10 + 15 + 20 + 25 + 30
    assert over_all(4, [(1, 7.0)]) == 28
    assert over_all(3, [(0, 1.0), (1, 5.0), (2, 3.0)]) == 9


def test_every_step_is_one_of_the_engine() -> None:
    for label, where, name in module("_phases").STEPS:
        assert callable(getattr(where, name, None)), f"{label}: {name} is not there any more"


def runs(seconds: float) -> list[Any]:
    return [module("_run").Measured(seconds, 5_000_000, 0.002, 0.001, {"a step": seconds / 2})] * 3


def part(*, seconds: float) -> Any:
    report, run = module("_report"), module("_run")
    kind = module("_profile").KINDS[0]

    class Profile:
        files, bytes_total, deflated = 3, 90_000_000, 0.9

    Profile.kind = kind  # type: ignore[attr-defined]
    measured = {(side, verb): runs(seconds) for side in (run.PACKS, run.PLAIN) for verb in report.VERBS}
    measured |= {(run.PEER, verb): runs(8.0) for verb in report.VERBS} | {(run.TAR, "save"): runs(1.0)}
    return report.part_of(
        Profile, measured, {(verb, watch): runs(seconds) for verb in report.VERBS for watch in ("stall", "phases")}
    )


def test_targets_are_met_or_missed() -> None:
    assert [target.met for target in part(seconds=1.0).targets] == [True] * 6
    slow = part(seconds=2.0)
    assert {target.target.split()[0] for target in slow.targets if not target.met} == {"save", "restore"}
    assert slow.phases["save"] == {"a step": 1000.0, "the rest": 1000.0}


def traffic() -> Any:
    live, run = module("_live"), module("_run")
    first = run.Saved(1.0, "full", 90_000_000, 9, 90_000_000)
    minutes = [run.Saved(0.1, "incremental", 200_000, 6, 90_000_000 + 200_000 * number) for number in range(1, 101)]
    peer = [live.PeerSaved(0, 4.0, 90_000_000), live.PeerSaved(99, 4.0, 110_000_000)]
    return live.Traffic(first, minutes, peer, before=90_000_000, after=110_000_000)


def test_a_day_sums_up_both_sides() -> None:
    day = module("_report").day_of("text", traffic())
    assert (day.ours.total_uploaded, day.ours.stored, day.ours.calls) == (20_000_000, 110_000_000, 600)
    assert day.peer.total_uploaded == pytest.approx(100 * 100_000_000)
    assert [target.met for target in day.targets] == [True, True]


def test_tables_have_rows_of_one_width(tmp_path: Path) -> None:
    report = module("_report")
    memory = report.memory_of([(10.0, runs(1.0), runs(1.0))])
    parts, days = [part(seconds=1.0)], [report.day_of("text", traffic())]
    text = module("_tables").render(report.Result("2026-01-02", "a machine", {"wwauth": "1"}, 3, parts, days, memory))
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) == 5
    assert all(len({line.count("|") for line in block}) == 1 for block in blocks)
    document = tmp_path / "page.md"
    document.write_text("head\n<b>\nold\n<e>\ntail\n")
    report.write(text, document, begin="<b>\n", end="<e>")
    assert document.read_text() == f"head\n<b>\n{text}\n<e>\ntail\n"
    with pytest.raises(SystemExit, match="lost its marks"):
        report.write(text, document, begin="<x>\n", end="<e>")
