"""Samples, quartiles, timed processes, and the machine they ran on, told so that nobody can tell which machine it was."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Timed:
    """How long a process took: seconds on the wall, and of processor time (its own and its children's)."""

    wall_s: float
    cpu_s: float


def timed(words: Sequence[str], environ: Mapping[str, str] | None = None) -> Timed:
    """Run a command to its end with its output thrown away; raises RuntimeError where it fails."""
    begin = time.perf_counter()
    child = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environ
    )
    with child:
        said = child.stderr.read() if child.stderr is not None else b""
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise RuntimeError(
            f"{' '.join(words[:3])} ended with {child.returncode}: {said.decode(errors='replace')[-2000:]}"
        )
    return Timed(wall, usage.ru_utime + usage.ru_stime)


@dataclass(slots=True)
class Series:
    """Samples of one thing, in seconds unless its table says otherwise."""

    name: str
    samples: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The middle sample."""
        return statistics.median(self.samples)

    @property
    def quartiles(self) -> tuple[float, float]:
        """A quarter of the samples lies below the first, a quarter above the second."""
        if len(self.samples) < 2:
            return self.samples[0], self.samples[0]
        first, _, third = statistics.quantiles(self.samples, n=4, method="inclusive")
        return first, third

    def ratio_to(self, other: Series) -> Series:
        """Each sample beside the other's of the same round."""
        pairs = zip(self.samples, other.samples, strict=True)
        return Series(f"{self.name} / {other.name}", [mine / theirs for mine, theirs in pairs])

    def minus(self, other: Series) -> Series:
        """Each sample less the other's of the same round."""
        pairs = zip(self.samples, other.samples, strict=True)
        return Series(f"{self.name} - {other.name}", [mine - theirs for mine, theirs in pairs])


def in_turns(rounds: int, contestants: Sequence[Callable[[], None]]) -> None:
    """Let each have its turn, ``rounds`` times over, every other round backwards: A B, B A, A B, ..."""
    for number in range(rounds):
        for turn in contestants if number % 2 == 0 else reversed(contestants):
            turn()


def load_average() -> str:
    """The machine's load over 1, 5 and 15 minutes."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def machine(docker: Sequence[str]) -> str:
    """This machine in words that do not identify it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kernel = ".".join(platform.release().split("-")[0].split(".")[:3])
    engine = subprocess.run(
        [*docker, "version", "--format", "{{.Server.Version}}, client {{.Client.Version}}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    return (
        f"{datetime.now(UTC):%Y-%m-%d}: {len(os.sched_getaffinity(0))} cores ({_processor()}), {memory:.0f} GiB of memory, "
        f"{platform.system()} {kernel}, Docker Engine {engine}, Python {platform.python_version()}."
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def launchpad() -> str:
    """The command that stands beside the interpreter that runs this."""
    return str(Path(sys.executable).parent / "launchpad")
