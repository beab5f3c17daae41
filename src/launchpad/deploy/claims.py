"""Who holds which GPU and which port.

Pure: other deployments' wanted specs and the containers that run go in, claims come out. A GPU is held by a deployment that is
wanted, and by any container of ours (whatever launchpad made it) that still runs on it. A rehearsal's container runs on none: the
recorded rig it plays is its own launchpad's, so two launchpads on one Docker Engine may rehearse the same rig at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from launchpad.runtime.base import LABEL_GPUS, LABEL_REHEARSAL

if TYPE_CHECKING:
    from collections.abc import Iterable

    from launchpad.deploy.spec import Spec
    from launchpad.runtime.base import Container


#: The most of a GPU's memory that shares may add up to: contexts and libraries of every process come on top of them.
MOST: Final = 0.95


@dataclass(frozen=True, slots=True)
class Claims:
    """GPU UUID -> holder, and (host, port) -> holder, both by deployment name.

    ``shares`` holds what is taken of a GPU's memory, 0 to 1, where all its holders let others stand beside them.
    """

    gpus: Mapping[str, str]
    ports: Mapping[tuple[str, int], str]
    shares: Mapping[str, float] = field(default_factory=dict)

    def taken(self, share: float | None) -> dict[str, str]:
        """The GPUs that somebody who wants ``share`` of their memory (None: all) cannot have, with who is in the way."""
        if share is None:
            return dict(self.gpus)
        return {
            uuid: holder
            for uuid, holder in self.gpus.items()
            if uuid not in self.shares or round(self.shares[uuid] + share, 6) > MOST
        }

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
    shares: dict[str, float] = {}
    sharing: set[tuple[str, str]] = set()
    for spec in wanted:
        if spec.name == name:
            continue
        if spec.hosted is None:
            ports[spec.host, spec.port] = spec.name
        for gpu in spec.gpus:
            alone = spec.gpu_share is None or (gpu.uuid in gpus and gpu.uuid not in shares)
            if alone:
                shares.pop(gpu.uuid, None)
            else:
                shares[gpu.uuid] = shares.get(gpu.uuid, 0.0) + (spec.gpu_share or 0.0)
                sharing.add((gpu.uuid, spec.name))
            gpus[gpu.uuid] = f"{gpus[gpu.uuid]}, {spec.name}" if gpu.uuid in gpus else spec.name
    for container in containers:
        holder = container.deployment
        if holder is None or holder == name or not container.running:
            continue
        if container.labels.get(LABEL_REHEARSAL) == "true":
            continue  # our own rehearsals are among the wanted; another launchpad's hold none of this one's recorded GPUs
        for uuid in filter(None, container.labels.get(LABEL_GPUS, "").split(",")):
            if (uuid, holder) not in sharing:  # nobody wants it there any more: what it takes is not known
                gpus[uuid] = holder
                shares.pop(uuid, None)
    return Claims(gpus, ports, shares)
