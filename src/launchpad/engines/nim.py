"""NVIDIA NIM: a container that brings its model, its engine and its settings.

NIM 2.x embeds vLLM or SGLang, and chooses a layout among its own profiles (``docker run --rm --gpus=all -e NGC_API_KEY IMAGE
list-model-profiles`` names them, ``NIM_MODEL_PROFILE`` picks one). Paths and variables as its documentation says (2.0.10 to 2.1.5,
read 2026-11-22); tested against a stand-in, never against NVIDIA's own.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from launchpad.engines import base
from launchpad.runtime.base import Mount

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launchpad.profiles.schema import Profile
    from launchpad.runtime.base import ContainerSpec

#: Where a NIM keeps weights and compiled engines: on a volume for each NIM, whatever the driver. 180 GB are not fetched again for a
#: new one.
CACHE: Final = "/opt/nim/.cache"
_VOLUME: Final = "launchpad-nim-"
#: The most that the first start of a NIM fetches, in bytes, by the last part of its repository. From files of users who ran it on
#: two DGX Spark ("177-190 GB"), read 2026-11-22; which layout another rig gets, its own list-model-profiles says.
_FETCHES: Final[Mapping[str, int]] = {"deepseek-v4-flash-0731": 190_000_000_000}


@dataclass(frozen=True, slots=True)
class Weights:
    """Where a NIM puts what its first start fetches, and the most that this can be in bytes, None where nobody has told."""

    volume: str
    at_most_bytes: int | None


def weights(profile: Profile) -> Weights | None:
    """What the server fetches for itself; None for every engine but a NIM."""
    if profile.engine != NIM.name:
        return None
    name = profile.own_image.reference.rpartition("/")[2].partition(":")[0]
    return Weights(_VOLUME + re.sub(r"[^A-Za-z0-9_.-]", "-", name), _FETCHES.get(name))


class NIM:
    """A NIM for large language models."""

    name = "nim"
    port = 8000
    stages: tuple[str, ...] = ("start", "serving")
    marks: tuple[base.StageMark, ...] = (base.mark("serving", r"Application startup complete|Uvicorn running on"),)

    def render(self, profile: Profile, seat: base.Seat) -> tuple[ContainerSpec, ...]:
        """One container with the image's own entrypoint; flags of the engine inside go through one variable."""
        port = profile.own_publish.container_port or self.port
        env = {"NIM_SERVER_PORT": str(port)}
        if profile.engine_args:
            env["NIM_PASSTHROUGH_ARGS"] = shlex.join(base.flags(profile.engine_args))
        made = base.container(profile, seat, command=(), entrypoint=None, container_port=port, env=env)
        own = weights(profile)
        volumes = (Mount("volume", own.volume, CACHE, read_only=False),) if own is not None else ()
        return (replace(made, mounts=(*volumes, *made.mounts)),)

    def health(self, profile: Profile) -> base.Health:
        """A proxy answers at once that it lives; ready is asked of the engine behind it.

        ``/v1/metrics`` is a page of whichever engine is inside, so it is not read and a token proves life.
        """
        return base.health_with(
            profile,
            base.Health(
                ready_paths=("/v1/health/ready",),
                ready_timeout_s=10.0,
                live_path="/v1/health/ready",
                live_interval_s=5.0,
                live_timeout_s=10.0,
                live_failures=3,
            ),
        )
