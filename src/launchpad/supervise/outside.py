"""What a supervisor meets outside its process, handed in as one value; nothing here does anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from launchpad.clock import Clock
    from launchpad.deploy.spec import Spec
    from launchpad.health.probe import Prober
    from launchpad.rig.facts import GpuSample, GpuTrouble, XidEvent
    from launchpad.rig.host import Host
    from launchpad.runtime.base import Runtime
    from launchpad.supervise.alerts import Alerts
    from launchpad.supervise.notify import Notifier


class GpuSamples(Protocol):
    """Where the deployment's GPU samples come from: NVML in a child process, or a recorded rig."""

    def latest(self) -> tuple[tuple[GpuSample, ...], GpuTrouble | None]:
        """The newest samples and, where there are none or one card is missing, why; never blocks."""

    def recent(self) -> tuple[GpuSample, ...]:
        """The samples of the last minute, oldest first."""

    def xids(self) -> tuple[XidEvent, ...]:
        """Xid errors reported since the last call."""

    def set_cap(self, uuid: str, watts: float) -> None:
        """Ask for the power limit of one GPU; :meth:`cap_answers` tells."""

    def cap_answers(self) -> tuple[tuple[str, str | None], ...]:
        """Answers since the last call: the GPU's UUID, and why it was refused (None: done)."""

    def close(self) -> None:
        """Stop sampling."""


class MakesProber(Protocol):
    """Makes what asks the server at a base URL; ``key`` is sent as a bearer token, ``outside``: it is no server of ours."""

    def __call__(self, base_url: str, key: str | None = None, *, outside: bool = False) -> Prober:
        """A prober; the caller closes it."""


class Outside(NamedTuple):
    """What a supervisor meets outside its process: every collaborator is handed in.

    ``samples`` makes the source of GPU samples for a spec, told whether the replica
    serves; ``host`` tells whose processes are on the GPUs, and whether the machine was rebooted.
    """

    runtime: Runtime
    clock: Clock
    prober: MakesProber
    samples: Callable[[Spec, Callable[[], bool]], GpuSamples]
    environ: Mapping[str, str]
    host: Host
    notifier: Notifier
    alerts: Alerts


class Note(Protocol):
    """Writes an event into the journal."""

    def __call__(
        self, event: str, reason: str, *, detail: dict[str, str | int | float | bool | None] | None = None
    ) -> None:
        """One event with its reason."""
