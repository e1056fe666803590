"""A result as Markdown that reads well in a terminal, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks._live import PER_MINUTE
from benchmarks._report import MB, VERBS
from benchmarks._run import PACKS, PEER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks._report import Cost, Day, Memory, Numbers, Part, Result, Target


def render(result: Result) -> str:
    used = ", ".join(f"{name} {number}" for name, number in result.versions.items())
    lines = [line for part in result.parts for line in part_lines(part)]
    lines += [line for day in result.days for line in day_lines(day)]
    if result.memory is not None:
        lines += memory_lines(result.memory)
    lines += phase_lines(result.parts)
    return "\n".join([*lines, f"{result.runs} runs of each side on {result.date}; {result.machine}; {used}."])


def part_lines(part: Part) -> list[str]:
    header = ["", *(cell for verb in VERBS for cell in (f"{verb}: median (range)", "times as fast", "extra memory (worst)"))]
    rows = []
    for side in part.numbers:
        row = [side]
        for verb in VERBS:
            numbers = part.numbers[side].get(verb)
            row += ["", "", ""] if numbers is None else cells(numbers, part.ratio(verb, side))
        rows.append(row)
    return [
        f"### A profile of {part.kind}",
        "",
        f"{part.files} files, {part.megabytes:.1f} MB; deflate leaves {part.deflated:.0%} of that.",
        "",
        *table(header, rows),
        "",
        *target_lines(part.targets),
        "",
        stall_line(part.stall_ms),
        "",
    ]


def stall_line(ms: dict[str, float]) -> str:
    return (
        f"The event loop's longest stall: {ms['save']:.1f} ms in a save, {ms['restore']:.1f} ms in a restore, "
        f"{ms['idle']:.1f} ms while it did nothing."
    )


def cells(numbers: Numbers, ratio: float) -> list[str]:
    memory = f"{numbers.extra_mb:.0f} MB ({numbers.worst_extra_mb:.0f})" if numbers.worst_extra_mb else "not measured"
    return [f"{numbers.median:.2f} s ({numbers.fastest:.2f} to {numbers.slowest:.2f})", f"{ratio:.1f}", memory]


def day_lines(day: Day) -> list[str]:
    header = ["", "a backup of the first hour: time", "uploaded", f"all {day.minutes} minutes: uploaded", "time"]
    header += ["most in a minute", "stored at the end", "at most", "calls of the store"]
    return [
        f"### A backup each minute: a profile of {day.kind} in use",
        "",
        growth_line(day),
        "",
        *table(header, [[PACKS, *cost_cells(day.ours)], [PEER, *cost_cells(day.peer)]]),
        "",
        f"The peer's were measured in {day.samples} of the minutes; between these its sums are on straight lines.",
        "",
        *target_lines(day.targets),
        "",
    ]


def growth_line(day: Day) -> str:
    before, after = day.megabytes
    return (
        f"{day.minutes} minutes of {PER_MINUTE} messages each, in which the profile grows from {before:.0f} to {after:.0f} MB. "
        f"{day.full} of wwauth's backups were full ones."
    )


def cost_cells(cost: Cost) -> list[str]:
    return [
        f"{cost.seconds:.3f} s",
        size(cost.uploaded),
        size(cost.total_uploaded),
        f"{cost.total_seconds:.0f} s",
        size(cost.most),
        size(cost.stored),
        size(cost.most_stored),
        f"{cost.calls:.0f}",
    ]


def memory_lines(memory: Memory) -> list[str]:
    rows = [[f"{megabytes:.0f} MB", f"{save:.1f} MB", f"{restore:.1f} MB"] for megabytes, save, restore in memory.rows]
    return [
        "### Extra memory by size",
        "",
        *table(["profile", "save", "restore"], rows),
        "",
        *target_lines(memory.targets),
        "",
    ]


def phase_lines(parts: Sequence[Part]) -> list[str]:
    lines = ["### Where wwauth's time goes", ""]
    for verb in VERBS:
        steps = list(dict.fromkeys(step for part in parts for step in part.phases[verb] if step != "the rest"))
        rows = [[step, *(f"{part.phases[verb].get(step, 0.0):.0f} ms" for part in parts)] for step in [*steps, "the rest"]]
        lines += [*table([verb, *(part.kind for part in parts)], rows), ""]
    return lines


def target_lines(targets: Sequence[Target]) -> list[str]:
    return [f"- {'Met' if t.met else '**MISSED**'}: {t.target}; measured: {t.measured}." for t in targets]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]


def size(count: float) -> str:
    if count >= 1000 * MB:
        return f"{count / MB / 1000:.1f} GB"
    return f"{count / MB:.1f} MB" if count >= MB else f"{count / 1000:.0f} kB"
