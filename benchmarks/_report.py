"""From measurements to the table of docs/benchmarks.md."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks._profile import GrownProfile

MB = 1_000_000
OURS, PEER = "wwauth", "whatsapp-web.js"
VERBS = ("save", "restore")

# What the backup promises for a profile of 80 MB and more.
SAVE_RATIO, EXTRA_MB = 3.0, 60.0

BEGIN, END = "<!-- backup: begin -->\n", "<!-- backup: end -->"


@dataclass(frozen=True)
class Measured:
    """One call: how long it took, and how far resident memory rose above what it was before."""

    seconds: float
    extra_bytes: int


class Summary(TypedDict):
    """All runs of one verb by one side."""

    side: str
    verb: str
    seconds: float
    fastest: float
    slowest: float
    extra_mb: float
    worst_extra_mb: float


class Target(TypedDict):
    target: str
    measured: str
    met: bool


class Part(TypedDict):
    """One kind of profile."""

    kind: str
    files: int
    megabytes: float
    deflated: float
    ratios: dict[str, float]
    targets: list[Target]
    summaries: list[Summary]


class Result(TypedDict):
    date: str
    machine: str
    versions: dict[str, str]
    runs: int
    parts: list[Part]


def result_of(parts: list[Part], count: int, peers: Path) -> Result:
    return Result(
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        machine=machine(),
        versions=versions(peers),
        runs=count,
        parts=parts,
    )


def part_of(runs: Mapping[tuple[str, str], list[Measured]], profile: GrownProfile) -> Part:
    summaries = [summary(side, verb, runs[side, verb]) for verb in VERBS for side in (OURS, PEER)]
    times = {(s["side"], s["verb"]): s["seconds"] for s in summaries}
    ratios = {verb: times[PEER, verb] / times[OURS, verb] for verb in VERBS}
    return Part(
        kind=profile.kind.name,
        files=profile.files,
        megabytes=profile.bytes_total / MB,
        deflated=profile.deflated,
        ratios=ratios,
        targets=targets(ratios["save"], max(s["worst_extra_mb"] for s in summaries if s["side"] == OURS)),
        summaries=summaries,
    )


def summary(side: str, verb: str, runs: list[Measured]) -> Summary:
    seconds = [run.seconds for run in runs]
    memory = [run.extra_bytes / MB for run in runs]
    return Summary(
        side=side,
        verb=verb,
        seconds=statistics.median(seconds),
        fastest=min(seconds),
        slowest=max(seconds),
        extra_mb=statistics.median(memory),
        worst_extra_mb=max(memory),
    )


def targets(save_ratio: float, extra_mb: float) -> list[Target]:
    return [
        Target(
            target=f"save at least {SAVE_RATIO:g} times as fast as the peer's",
            measured=f"{save_ratio:.1f} times",
            met=save_ratio >= SAVE_RATIO,
        ),
        Target(
            target=f"extra memory under {EXTRA_MB:g} MB, the worst run counting",
            measured=f"{extra_mb:.0f} MB",
            met=extra_mb < EXTRA_MB,
        ),
    ]


def render(result: Result) -> str:
    """Return a result as Markdown that reads well in a terminal, too."""
    used = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    return "\n".join(
        [
            *(line for part in result["parts"] for line in part_lines(part)),
            f"{result['runs']} runs of each side on {result['date']}; {result['machine']}; {used}.",
        ]
    )


def part_lines(part: Part) -> list[str]:
    ratios = part["ratios"]
    rows = [[side, *(cell for s in part["summaries"] if s["side"] == side for cell in cells(s))] for side in (OURS, PEER)]
    header = ["", *(cell for verb in VERBS for cell in (f"{verb}: median (range)", "extra memory: median (worst)"))]
    return [
        f"### A profile of {part['kind']}",
        "",
        f"Times as fast as the peer: save **{ratios['save']:.1f}**, restore **{ratios['restore']:.1f}**.",
        "",
        *(f"- {'Met' if t['met'] else '**MISSED**'}: {t['target']}; measured: {t['measured']}." for t in part["targets"]),
        "",
        *(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)),
        "",
        f"{part['files']} files, {part['megabytes']:.1f} MB; deflate leaves {part['deflated']:.0%} of that.",
        "",
    ]


def cells(s: Summary) -> list[str]:
    return [
        f"{s['seconds']:.2f} s ({s['fastest']:.2f} to {s['slowest']:.2f})",
        f"{s['extra_mb']:.0f} MB ({s['worst_extra_mb']:.0f})",
    ]


def write(result: Result, document: Path) -> None:
    """Replace what stands between the marks of the document."""
    head, found, rest = document.read_text("utf-8").partition(BEGIN)
    _, found_end, tail = rest.partition(END)
    if not found or not found_end:
        raise SystemExit(f"{document} has lost its marks {BEGIN.strip()} and {END}")
    document.write_text(f"{head}{BEGIN}{render(result)}\n{END}{tail}", "utf-8")


def machine() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file() and (found := re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)):
        model = found.group(1)
    # A busy machine makes all times longer, and favours whoever uses one CPU.
    load = f", load {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    return f"{platform.system()}, {os.cpu_count()} CPUs ({model}){load}"


def versions(peers: Path) -> dict[str, str]:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return {
        OURS: project["project"]["version"],
        "Python": platform.python_version(),
        **{
            name: json.loads((peers / name / "package.json").read_text("utf-8"))["version"]
            for name in (PEER, "archiver", "unzipper")
        },
        "Node": node.removeprefix("v"),
    }
