"""A whole deployment rehearsed: the spec of :func:`launchpad.deploy.spec.resolve` with stand-ins in it.

Pure but for one question, whether a host path is here. The rehearsal keeps the deployment's name, endpoint, probes and policy, and
gets volumes of its own, so that nothing it writes can be taken for a compiled kernel or a downloaded weight.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from launchpad.rehearse.image import image_tag
from launchpad.rehearse.stage import rehearsal_of

if TYPE_CHECKING:
    from launchpad.deploy.spec import RehearsalChoice, Spec
    from launchpad.runtime.base import Mount

#: The engines whose own ways the stand-in knows; another is played as a server that says no more than its profile does.
PLAYED: Final = frozenset({"sglang", "vllm"})
_VOLUME: Final = "launchpad-rehearsal-"


def rehearse(spec: Spec, choice: RehearsalChoice, image_id: str | None) -> Spec:
    """``spec`` with the stand-in engine in every container, marked as a rehearsal everywhere a person looks."""
    tag = image_tag()
    containers = tuple(
        rehearsal_of(
            replace(container, mounts=tuple(_own_volume(mount) for mount in container.mounts)),
            image=tag,
            image_id=image_id,
            engine=spec.engine if spec.engine in PLAYED else "generic",
            served_name=spec.model,
            faults=choice.faults,
            load_seconds=choice.load_seconds,
            health_path=spec.health.ready_paths[0 if spec.engine not in PLAYED else -1],
            path_exists=lambda path: Path(path).exists(),
        )
        for container in spec.containers[:1]  # of several it plays what the first one publishes
    )
    cache = replace(spec.cache, volume=_renamed(spec.cache.volume)) if spec.cache else None
    image = replace(spec.own_image, reference=tag, pull="never", build_template=None, build_args=())
    return replace(spec, containers=containers, cache=cache, image=image, rehearsal=choice)


def _own_volume(mount: Mount) -> Mount:
    return replace(mount, source=_renamed(mount.source)) if mount.kind == "volume" else mount


def _renamed(volume: str) -> str:
    return _VOLUME + volume.removeprefix("launchpad-")
