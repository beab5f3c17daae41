"""NVIDIA NIM: a container that brings its model, its engine and its settings.

NIM 2.x embeds vLLM or SGLang, and chooses a layout among its own profiles (``docker run --rm --gpus=all -e NGC_API_KEY IMAGE
list-model-profiles`` names them, ``NIM_MODEL_PROFILE`` picks one). Paths and variables as its documentation says (2.0.10 to 2.1.5,
read 2026-11-22); tested against a stand-in, never against NVIDIA's own.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from launchpad.engines import base
from launchpad.runtime.base import Mount

if TYPE_CHECKING:
    from launchpad.profiles.schema import Profile
    from launchpad.runtime.base import ContainerSpec

#: Weights and compiled engines. A volume of its own, whatever the driver: 180 GB are not fetched again for a new one.
_VOLUME: Final = "launchpad-nim"
_CACHE: Final = "/opt/nim/.cache"


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
        return (replace(made, mounts=(Mount("volume", _VOLUME, _CACHE, read_only=False), *made.mounts)),)

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
