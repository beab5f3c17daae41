"""Who holds which GPU and which port.

Pure: other deployments' wanted specs and the containers that run go in, claims come out. A GPU is held by a deployment that is
wanted, and by any container of ours (whatever launchpad made it) that still runs on it. A rehearsal's container runs on none: the
recorded rig it plays is its own launchpad's, so two launchpads on one Docker Engine may rehearse the same rig at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launchpad.runtime.base import LABEL_GPUS, LABEL_REHEARSAL

if TYPE_CHECKING:
    from collections.abc import Iterable

    from launchpad.deploy.spec import Spec
    from launchpad.runtime.base import Container


@dataclass(frozen=True, slots=True)
class Claims:
    """GPU UUID -> holder, and (host, port) -> holder, both by deployment name."""

    gpus: Mapping[str, str]
    ports: Mapping[tuple[str, int], str]

    def port_holder(self, host: str, port: int) -> str | None:
        """The deployment that will listen where ``host:port`` would, wildcards included."""
        wild = {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound
        for (other, number), holder in self.ports.items():
            if number == port and (other == host or other in wild or host in wild):
                return holder
        return None


def claims_of(name: str, wanted: Iterable[Spec], containers: Iterable[Container]) -> Claims:
    """What everybody but ``name`` holds."""
    gpus: dict[str, str] = {}
    ports: dict[tuple[str, int], str] = {}
    for spec in wanted:
        if spec.name == name:
            continue
        gpus.update((gpu.uuid, spec.name) for gpu in spec.gpus)
        ports[spec.host, spec.port] = spec.name
    for container in containers:
        holder = container.deployment
        if holder is None or holder == name or not container.running:
            continue
        if container.labels.get(LABEL_REHEARSAL) == "true":
            continue  # our own rehearsals are among the wanted; another launchpad's hold none of this one's recorded GPUs
        gpus.update((uuid, holder) for uuid in container.labels.get(LABEL_GPUS, "").split(",") if uuid)
    return Claims(gpus, ports)
