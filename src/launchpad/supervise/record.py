"""The crash folder: what was known when a replica died, in files that survive its container.

``verdict.json`` says why in words, ``inspect.json`` is the runtime's own account with its environment redacted, ``gpus.json``
holds the samples of the last minute, ``alarms.json`` what was wrong with the rig, ``versions.json`` what ran, ``log.txt`` the
last lines. ``verdict.json`` is written last: a folder that has one is whole. Only what is handed in is written.
"""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import launchpad
from launchpad.clock import stamp
from launchpad.errors import LaunchpadError
from launchpad.rig.facts import GpuSample
from launchpad.runtime.base import Container
from launchpad.store.files import decode, encode, write_atomic
from launchpad.supervise.machine import Phase, Verdict
from launchpad.supervise.snapshot import Alarm

if TYPE_CHECKING:
    from pathlib import Path

    from launchpad.deploy.spec import Spec
    from launchpad.rig.host import HostFacts
    from launchpad.runtime.base import Runtime
    from launchpad.store.state import Deployment, Store, Wanted


@dataclass(frozen=True, slots=True)
class Versions:
    """What ran when it crashed; None is unknown. ``cuda`` is the image's, ``driver`` the loaded kernel module's."""

    launchpad: str
    python: str
    docker: str | None
    driver: str | None
    cuda: str | None
    kernel: str | None
    os: str | None
    image: str | None
    image_id: str | None
    image_digest: str | None
    engine: str
    engine_version: str | None
    spec_hash: str
    spec_version: int | None


@dataclass(frozen=True, slots=True)
class Crash:
    """Everything that is known of one crash. ``samples`` are of the last minute, ``alarms`` those that held."""

    at: datetime
    verdict: Verdict
    phase: Phase
    stage: str | None
    container: Container | None
    inspect: dict[str, object] | None
    lines: tuple[str, ...]
    samples: tuple[GpuSample, ...]
    alarms: tuple[Alarm, ...] = ()
    versions: Versions | None = None


@dataclass(frozen=True, slots=True)
class _Told:
    """Of a verdict what tells two crashes apart."""

    container: str | None = None
    finished_at: str | None = None


def record_crash(deployment: Deployment, crash: Crash) -> Path:
    """The folder of this crash, made and filled unless a supervisor that did not live to tell has done so.

    A folder that one was killed over is replaced. Raises StoreError where the disk refuses.
    """
    for newest in deployment.crash_folders()[-1:]:
        told = _told(newest)
        if told is None:
            shutil.rmtree(newest, ignore_errors=True)
        elif crash.container is not None and told == _Told(crash.container.id, _finished(crash.container)):
            return newest
    folder = deployment.new_crash_folder(crash.at)
    write_crash(folder, crash)
    return folder


def write_crash(folder: Path, crash: Crash) -> None:
    """Fill ``folder``; raises StoreError where the disk refuses."""
    container, verdict = crash.container, crash.verdict
    exit_ = container.exit if container else None
    if crash.inspect is not None:
        write_atomic(folder / "inspect.json", encode(crash.inspect))
    write_atomic(folder / "gpus.json", encode(crash.samples))
    write_atomic(folder / "alarms.json", encode(crash.alarms))
    if crash.versions is not None:
        write_atomic(folder / "versions.json", encode(crash.versions))
    write_atomic(folder / "log.txt", "".join(f"{line}\n" for line in crash.lines).encode(errors="replace"))
    write_atomic(
        folder / "verdict.json",
        encode(
            {
                "at": stamp(crash.at),
                "reason": verdict.reason,
                "fatal": verdict.fatal,
                "id": verdict.id,
                "hint": verdict.hint,
                "phase": str(crash.phase),
                "stage": crash.stage,
                "exit_code": exit_.code if exit_ else None,
                "signal": exit_.signal if exit_ else None,
                "oom_killed": exit_.oom_killed if exit_ else None,
                "container": container.id if container else None,
                "image": container.image_id if container else None,
                "finished_at": _finished(container) if container else None,
            }
        ),
    )


def versions_of(
    wanted: Wanted[Spec],
    container: Container | None,
    runtime: Runtime,
    store: Store,
    host: HostFacts | None,
    now: datetime,
) -> Versions:
    """What runs, as far as anybody tells: a runtime that does not answer costs its own lines alone."""
    from launchpad.doctor.case import ImageFacts

    spec = wanted.spec
    image_id = container.image_id if container else None
    docker = digest = None
    facts: ImageFacts | None = None
    try:
        facts = store.read_image(image_id, ImageFacts, now) if image_id else None
        docker = runtime.info().version
        image = runtime.image(image_id or spec.image.reference) if spec.image is not None else None
        image_id = image_id or (image.id if image else None)
        digest = image.digests[0] if image and image.digests else None
    except LaunchpadError:
        pass  # the rest is worth having without it
    return Versions(
        launchpad=launchpad.__version__,
        python=platform.python_version(),
        docker=docker,
        driver=host.driver_loaded_version if host else None,
        cuda=facts.cuda_version if facts else None,
        kernel=host.kernel if host else None,
        os=host.os_name if host else None,
        image=spec.image.reference if spec.image is not None else None,
        image_id=image_id,
        image_digest=digest,
        engine=spec.engine,
        engine_version=facts.engine_version if facts else None,
        spec_hash=spec.hash,
        spec_version=wanted.number or None,
    )


def _finished(container: Container) -> str | None:
    return stamp(container.finished_at) if container.finished_at else None


def _told(folder: Path) -> _Told | None:
    """What its verdict says; None where there is none that can be read."""
    try:
        return decode((folder / "verdict.json").read_bytes(), _Told)
    except (OSError, ValueError):
        return None
