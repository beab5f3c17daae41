"""Any image that speaks the OpenAI API: llama.cpp, TEI, a private build.

The command is the profile's, verbatim, and so are the probes; nothing is added and no log line is understood.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from launchpad.engines import base

if TYPE_CHECKING:
    from launchpad.profiles.schema import Profile
    from launchpad.runtime.base import ContainerSpec


class Generic:
    """A server that launchpad knows nothing about but what its profile says."""

    name = "generic"
    port = 8000
    stages: tuple[str, ...] = ("start", "serving")
    marks: tuple[base.StageMark, ...] = ()

    def render(self, profile: Profile, seat: base.Seat) -> tuple[ContainerSpec, ...]:
        """One container with the profile's own command."""
        return (
            base.container(
                profile,
                seat,
                command=tuple(profile.command or ()),
                entrypoint=None,
                container_port=profile.own_publish.container_port or self.port,
                env=base.hub_env(profile),
            ),
        )

    def health(self, profile: Profile) -> base.Health:
        """Readiness as the profile says; liveness on the same path unless it names another."""
        ready = profile.probes.readiness.path or "/health"
        return base.health_with(
            profile,
            base.Health(
                ready_paths=(ready,),
                ready_timeout_s=5.0,
                live_path=ready,
                live_interval_s=10.0,
                live_timeout_s=10.0,
                live_failures=3,
            ),
        )
