"""What was measured, and what it is held against."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks._live import HOUR
from benchmarks._run import PACKS, PEER, PLAIN, TAR

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks._live import Traffic
    from benchmarks._profile import GrownProfile
    from benchmarks._run import Measured

MB = 1_000_000
VERBS = ("save", "restore")

Runs = dict[tuple[str, str], list["Measured"]]


@dataclass(frozen=True)
class Target:
    """What a backup promises, and what came of it."""

    target: str
    measured: str
    met: bool


@dataclass(frozen=True)
class Numbers:
    """All runs of one verb by one side: seconds, and megabytes of extra memory."""

    median: float
    fastest: float
    slowest: float
    extra_mb: float
    worst_extra_mb: float


@dataclass(frozen=True)
class Part:
    """
    One profile, saved and restored.

    Attributes:
        numbers: By side, then by verb.
        phases: Of wwauth's packs: milliseconds by step, by verb.
        stall_ms: The longest stall of the event loop, by verb, and while it was idle.
    """

    kind: str
    files: int
    megabytes: float
    deflated: float
    numbers: dict[str, dict[str, Numbers]]
    phases: dict[str, dict[str, float]]
    stall_ms: dict[str, float]
    targets: list[Target]

    def ratio(self, verb: str, side: str = PACKS) -> float:
        """Return how many times as fast as the peer a side is."""
        return self.numbers[PEER][verb].median / self.numbers[side][verb].median


@dataclass(frozen=True)
class Cost:
    """Medians of one side over the backups of the first hour, and sums over all minutes; `most` is of one minute."""

    seconds: float
    uploaded: float
    most: float
    total_seconds: float
    total_uploaded: float
    calls: float
    stored: float
    most_stored: float


@dataclass(frozen=True)
class Day:
    """Gentle traffic on one kind of profile."""

    kind: str
    minutes: int
    samples: int
    megabytes: tuple[float, float]
    full: int
    ours: Cost
    peer: Cost
    targets: list[Target]


@dataclass(frozen=True)
class Memory:
    """Extra memory in MB, the worst of all runs, by the profile's megabytes."""

    rows: list[tuple[float, float, float]]
    targets: list[Target]


@dataclass(frozen=True)
class Result:
    date: str
    machine: str
    versions: dict[str, str]
    runs: int
    parts: list[Part] = field(default_factory=list)
    days: list[Day] = field(default_factory=list)
    memory: Memory | None = None


def part_of(profile: GrownProfile, runs: Runs, watched: Mapping[tuple[str, str], Sequence[Measured]]) -> Part:
    """`watched` are wwauth's runs with a watch, by verb and watch."""
    numbers: dict[str, dict[str, Numbers]] = {}
    for side in (PACKS, PLAIN, PEER, TAR):
        for verb in VERBS:
            if (side, verb) in runs:
                numbers.setdefault(side, {})[verb] = numbers_of(runs[side, verb])
    stalls = [run for verb in VERBS for run in watched[verb, "stall"]]
    stall = {verb: 1000 * max(run.stall for run in watched[verb, "stall"]) for verb in VERBS}
    part = Part(
        kind=profile.kind.name,
        files=profile.files,
        megabytes=profile.bytes_total / MB,
        deflated=profile.deflated,
        numbers=numbers,
        phases={verb: phases_of(watched[verb, "phases"]) for verb in VERBS},
        stall_ms={**stall, "idle": 1000 * max(run.idle_stall for run in stalls)},
        targets=[],
    )
    part.targets.extend(_part_targets(part))
    return part


def _part_targets(part: Part) -> list[Target]:
    extra = max(number.worst_extra_mb for number in part.numbers[PACKS].values())
    longest = max(part.stall_ms[verb] for verb in VERBS)
    targets = [
        at_least("save at least 8 times as fast as the peer", part.ratio("save"), 8, "times"),
        at_least("restore at least 6 times as fast as the peer", part.ratio("restore"), 6, "times"),
        at_most("extra memory at most 40 MB, the worst run counting", extra, 40, "MB"),
        at_most("longest stall of the event loop at most 20 ms", longest, 20, "ms"),
        at_least("plain zip: save at least 3 times as fast as the peer", part.ratio("save", PLAIN), 3, "times"),
    ]
    if TAR in part.numbers:
        times = part.numbers[PACKS]["save"].median / part.numbers[TAR]["save"].median
        targets.append(at_most(f"save takes at most 1.5 times as long as {TAR}", times, 1.5, "times"))
    return targets


def numbers_of(runs: Sequence[Measured]) -> Numbers:
    seconds = [run.seconds for run in runs]
    memory = [run.extra_bytes / MB for run in runs]
    return Numbers(statistics.median(seconds), min(seconds), max(seconds), statistics.median(memory), max(memory))


def phases_of(runs: Sequence[Measured]) -> dict[str, float]:
    """Return the median milliseconds of each step, and of what is none."""
    steps = list(runs[0].phases)
    median = {step: 1000 * statistics.median(run.phases.get(step, 0.0) for run in runs) for step in steps}
    return {**median, "the rest": max(0.0, 1000 * statistics.median(run.seconds for run in runs) - sum(median.values()))}


def day_of(kind: str, traffic: Traffic) -> Day:
    hour = traffic.minutes[:HOUR]
    peer_hour = [saved for saved in traffic.peer if saved.minute < HOUR]
    stored = [saved.stored for saved in traffic.minutes]
    ours = Cost(
        seconds=statistics.median(saved.seconds for saved in hour),
        uploaded=statistics.median(saved.uploaded for saved in hour),
        most=max(saved.uploaded for saved in traffic.minutes),
        total_seconds=sum(saved.seconds for saved in traffic.minutes),
        total_uploaded=sum(saved.uploaded for saved in traffic.minutes),
        calls=sum(saved.calls for saved in traffic.minutes),
        stored=stored[-1],
        most_stored=max(stored),
    )
    count = len(traffic.minutes)
    peer = Cost(
        seconds=statistics.median(saved.seconds for saved in peer_hour),
        uploaded=statistics.median(saved.uploaded for saved in peer_hour),
        most=max(saved.uploaded for saved in traffic.peer),
        total_seconds=over_all(count, [(saved.minute, saved.seconds) for saved in traffic.peer]),
        total_uploaded=over_all(count, [(saved.minute, saved.uploaded) for saved in traffic.peer]),
        calls=count,
        stored=traffic.peer[-1].uploaded,
        most_stored=max(saved.uploaded for saved in traffic.peer),
    )
    targets = [
        at_least("moves at most 1/50 of the peer's bytes", peer.uploaded / ours.uploaded, 50, "times less"),
        at_least("takes at most 1/20 of the peer's time", peer.seconds / ours.seconds, 20, "times less"),
    ]
    return Day(
        kind=kind,
        minutes=count,
        samples=len(traffic.peer),
        megabytes=(traffic.before / MB, traffic.after / MB),
        full=sum(saved.kind == "full" for saved in traffic.minutes),
        ours=ours,
        peer=peer,
        targets=targets,
    )


def over_all(count: int, samples: Sequence[tuple[int, float]]) -> float:
    """Return the sum over `count` minutes of what was sampled in some, on a straight line between two of them."""
    total = 0.0
    for minute in range(count):
        before = max((sample for sample in samples if sample[0] <= minute), default=samples[0])
        after = min((sample for sample in samples if sample[0] >= minute), default=samples[-1])
        part = 0.0 if after[0] == before[0] else (minute - before[0]) / (after[0] - before[0])
        total += before[1] + part * (after[1] - before[1])
    return total


def memory_of(measured: Sequence[tuple[float, Sequence[Measured], Sequence[Measured]]]) -> Memory:
    """`measured`: the profile's megabytes, runs of save, runs of restore."""
    rows = [
        (megabytes, max(run.extra_bytes for run in saves) / MB, max(run.extra_bytes for run in restores) / MB)
        for megabytes, saves, restores in measured
    ]
    worst = max(number for row in rows for number in row[1:])
    return Memory(rows, [at_most("extra memory at most 40 MB, whatever the profile's size", worst, 40, "MB")])


def at_least(target: str, measured: float, limit: float, unit: str) -> Target:
    return Target(target, f"{measured:.1f} {unit}", measured >= limit)


def at_most(target: str, measured: float, limit: float, unit: str) -> Target:
    return Target(target, f"{measured:.1f} {unit}", measured <= limit)


def write(text: str, document: Path, *, begin: str, end: str) -> None:
    """Replace what stands between the marks of the document."""
    head, found, rest = document.read_text("utf-8").partition(begin)
    _, found_end, tail = rest.partition(end)
    if not found or not found_end:
        raise SystemExit(f"{document} has lost its marks {begin.strip()} and {end}")
    document.write_text(f"{head}{begin}{text}\n{end}{tail}", "utf-8")


def machine() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file() and (found := re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)):
        model = found.group(1)
    # A busy machine makes all times longer, and favours whoever uses one CPU.
    load = f", load {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    return f"{platform.system()}, {os.cpu_count()} CPUs ({model}){load}"


def versions(peers: Path, *packages: str) -> dict[str, str]:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return {
        PACKS: project["project"]["version"],
        "Python": platform.python_version(),
        **{
            name: json.loads((peers / name / "package.json").read_text("utf-8"))["version"]
            for name in (PEER, "archiver", "unzipper", *packages)
        },
        "Node": node.removeprefix("v"),
    }
