"""Does one thing at a time: a container from creation to removal under a deadline, or a child that reads a disk.

Whatever happens inside, the answer comes by the deadline plus what the Docker Engine takes to kill and remove (its calls have
time limits of their own). Nothing is left behind; where the engine itself cannot remove a container, the answer names it. What a
launchpad that was killed left under the same name and owner is removed first. It judges nothing.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from launchpad.doctor.deep.plan import DISK_BYTES, DISK_PIECE, DISK_READERS, DISK_S, ROLE
from launchpad.doctor.deep.scripts import MARK, source
from launchpad.errors import ContainerError, LaunchpadError
from launchpad.runtime.base import LABEL_OWNER, LABEL_ROLE, Container

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from launchpad.clock import Clock
    from launchpad.runtime.base import ContainerSpec, Runtime

#: Seconds between two looks at a container.
LOOK_EVERY: Final = 0.25
#: Lines of a container's log that are read, and of noise that are kept as evidence.
LOG_LINES: Final = 500
NOISE_LINES: Final = 16
_REAP_S: Final = 1.0

#: answered: the script said how it went. silent: it ended without. hung: the deadline ended it. refused: it did not start.
How = Literal["answered", "silent", "hung", "refused"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a container ended: the script's lines, the last words beside them, and, where one stayed behind, how to remove it."""

    how: How
    seconds: float
    lines: tuple[dict[str, Any], ...] = ()
    noise: tuple[str, ...] = ()
    exit_code: int | None = None
    refusal: LaunchpadError | None = None
    left_behind: str | None = None

    @property
    def answer(self) -> dict[str, Any]:
        """The line that says it is done, or empty."""
        return next((line for line in reversed(self.lines) if line.get("done")), {})

    @property
    def error(self) -> str | None:
        """What the script says went wrong, the first rank's word."""
        found = next((line for line in self.lines if "error" in line), None)
        return None if found is None else f"{found.get('kind', 'error')}: {found['error']}"


@dataclass(slots=True)
class _Life:
    """What is known of a container while it is being run."""

    container: Container
    hung: bool = False
    lines: tuple[dict[str, Any], ...] = ()
    noise: tuple[str, ...] = ()
    left_behind: str | None = None
    exit_code: int | None = field(default=None)


def run_container(
    runtime: Runtime, spec: ContainerSpec, deadline_s: float, clock: Clock, during: Callable[[], None] = lambda: None
) -> Outcome:
    """Create, start, watch, read and remove one container; ``during`` is called at every look and must not block.

    Raises RuntimeUnavailable where the engine breaks off, never ContainerError; the container is removed in either case.
    """
    began = clock.monotonic()
    try:
        _sweep(runtime, spec)
        life = _Life(runtime.create(spec, {}))
    except ContainerError as error:
        return Outcome("refused", clock.monotonic() - began, refusal=error)
    refusal: LaunchpadError | None = None
    try:
        runtime.start(life.container.id)
        _watch(runtime, life, began + deadline_s, clock, during)
        life.lines, life.noise = _read(runtime, life.container.id)
    except ContainerError as error:
        refusal = error
    finally:
        _remove(runtime, life)
    answered = any("done" in line or "error" in line for line in life.lines)
    how: How = "refused" if refusal else "hung" if life.hung else "answered" if answered else "silent"
    return Outcome(
        how, clock.monotonic() - began, life.lines, life.noise, life.exit_code, refusal, left_behind=life.left_behind
    )


def _sweep(runtime: Runtime, spec: ContainerSpec) -> None:
    """Remove what stands under that name, if it is an active check of this very launchpad: create says of any other what it is."""
    found = runtime.inspect(spec.name)
    labels = dict(spec.labels)
    if (
        found is not None
        and found.labels.get(LABEL_ROLE) == ROLE
        and found.labels.get(LABEL_OWNER) == labels[LABEL_OWNER]
    ):
        runtime.remove(found.id)


def _watch(runtime: Runtime, life: _Life, until: float, clock: Clock, during: Callable[[], None]) -> None:
    """Look until it has ended, or kill it at the deadline."""
    while True:
        seen = runtime.inspect(life.container.id)
        if seen is None or not seen.running:
            life.exit_code = seen.exit.code if seen is not None and seen.exit is not None else None
            return
        if clock.monotonic() >= until:
            life.hung = True
            with contextlib.suppress(ContainerError):  # one that cannot be killed is told when it cannot be removed
                runtime.signal(life.container.id, "SIGKILL")
            return
        during()
        clock.sleep(LOOK_EVERY)


def _read(runtime: Runtime, container_id: str) -> tuple[tuple[dict[str, Any], ...], tuple[str, ...]]:
    with runtime.logs(container_id, tail=LOG_LINES) as log:
        said = [line.text for line in log]
    return parse(said), tuple(line.strip() for line in said if line.strip() and not line.startswith(MARK))[
        -NOISE_LINES:
    ]


def parse(lines: Iterable[str]) -> tuple[dict[str, Any], ...]:
    """The objects among a container's lines; a torn one is none."""
    found = []
    for line in lines:
        if line.startswith(MARK):
            with contextlib.suppress(ValueError, RecursionError):
                said = json.loads(line.removeprefix(MARK))
                if isinstance(said, dict):
                    found.append(said)
    return tuple(found)


def _remove(runtime: Runtime, life: _Life) -> None:
    """Remove it for sure; where the engine cannot, say so rather than raise over what was being told."""
    try:
        runtime.remove(life.container.id)
    except LaunchpadError as error:
        life.left_behind = f"{life.container.name}: {error.message}"


def read_disk(
    files: Sequence[tuple[str, int]], deadline_s: float, command: Sequence[str] | None = None
) -> dict[str, Any] | None:
    """Bytes, seconds, whether past the cache, and the error if any; None where the disk did not answer by the deadline.

    A child reads, because a dead network disk blocks its reader inside the kernel; one that cannot die is let go of.
    """
    asked = {
        "files": list(files),
        "budget_bytes": DISK_BYTES,
        "seconds": DISK_S,
        "piece_bytes": DISK_PIECE,
        "readers": DISK_READERS,
    }
    child = subprocess.Popen(
        command or (sys.executable, "-I", "-c", source("read_disk")),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        said, _ = child.communicate(json.dumps(asked).encode(), timeout=deadline_s)
        answer = json.loads(said)
    except subprocess.TimeoutExpired:
        return None
    except ValueError:
        return {"bytes": 0, "seconds": 0.0, "direct": False, "error": f"its reader ended with code {child.returncode}"}
    finally:
        _let_go(child)
    return answer if isinstance(answer, dict) else None


def _let_go(child: subprocess.Popen[bytes]) -> None:
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    child.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_REAP_S)
