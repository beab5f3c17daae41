"""The crash folder: what was known when a replica died, in files that survive its container.

``verdict.json`` says why in words, ``inspect.json`` is the runtime's own account with its environment redacted, ``gpus.json``
holds the last samples, ``log.txt`` the last lines. Only what is handed in is written; nothing is asked of anybody here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from launchpad.clock import stamp
from launchpad.store.files import encode, write_atomic

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from launchpad.rig.facts import GpuSample
    from launchpad.runtime.base import Container
    from launchpad.supervise.machine import Phase, Verdict


def write_crash(
    folder: Path,
    verdict: Verdict,
    *,
    phase: Phase,
    stage: str | None,
    container: Container | None,
    inspect: dict[str, object] | None,
    lines: tuple[str, ...],
    samples: tuple[GpuSample, ...],
    at: datetime,
) -> None:
    """Fill ``folder``; raises StoreError where the disk refuses."""
    exit_ = container.exit if container else None
    write_atomic(
        folder / "verdict.json",
        encode(
            {
                "at": stamp(at),
                "reason": verdict.reason,
                "fatal": verdict.fatal,
                "id": verdict.id,
                "hint": verdict.hint,
                "phase": str(phase),
                "stage": stage,
                "exit_code": exit_.code if exit_ else None,
                "signal": exit_.signal if exit_ else None,
                "oom_killed": exit_.oom_killed if exit_ else None,
                "container": container.id if container else None,
                "image": container.image_id if container else None,
            }
        ),
    )
    if inspect is not None:
        write_atomic(folder / "inspect.json", encode(inspect))
    write_atomic(folder / "gpus.json", encode(samples))
    write_atomic(folder / "log.txt", "".join(f"{line}\n" for line in lines).encode(errors="replace"))
