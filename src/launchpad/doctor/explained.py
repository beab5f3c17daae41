"""What ``doctor --explain`` says of findings that are no hazards: checks of this machine, of a profile, and active checks.

Data only: by id, what was looked at and why it matters, and what mends it. Hazard rules, log lines, flags and drifts from a lock
tell their own stories where they are written; nothing here looks at anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Explained:
    """One check in words: ``story`` is what it looks at and why, ``fix`` what mends it."""

    story: str
    fix: str


EXPLAINED: Final[Mapping[str, Explained]] = {
    "deep.all-reduce": Explained(
        "An active check: the image's NCCL sums 4 KiB to 64 MiB over the GPUs, in a container of its own. Peer-to-peer that hangs "
        "is killed and told; tensor parallelism would hang the same way, after the whole load.",
        "what the finding's own hint says; the hazards p2p.acs and p2p.iommu are the usual causes",
    ),
    "deep.disk-read": Explained(
        "An active check: reads up to 16 GiB of the model past the page cache. How fast that goes bounds how fast a load can be.",
        "put the model on a faster disk, or raise deadlines.startup",
    ),
    "deep.gpu-container": Explained(
        "An active check: starts the image with the GPUs and computes a small product on each. Every other check on the GPUs rests "
        "on it.",
        "what the finding's own hint says: the NVIDIA Container Toolkit, the driver, or an image without kernels for the card",
    ),
    "deep.gpu-memory-bandwidth": Explained(
        "An active check: copies within the memory of each GPU and compares with its data sheet. Decoding is as fast as this.",
        "end what else uses the card, and look at its clocks: nvidia-smi -q -d CLOCK,PERFORMANCE",
    ),
    "deep.pcie-bandwidth": Explained(
        "An active check: copies between pinned host memory and each GPU, both ways. A card in a narrow slot shows here.",
        "reseat the card or its riser, or move it to a slot with all lanes: launchpad doctor tells the width of each",
    ),
    "deep.power": Explained(
        "An active check: loads the GPUs fully and reads their power. No limit is changed. It tells what the supply must bear.",
        "lower the limits (power.cap_w in the profile), or mend the supply or cooling that the finding names",
    ),
    "docker.other-owner": Explained(
        "A container of this name was made by a launchpad with another state directory. Taking it over would leave two "
        "supervisors with one container.",
        "bring it down with the launchpad that made it, or remove the container by hand",
    ),
    "fallback.unusable": Explained(
        "The profile names a fallback that cannot be turned to: there is no such profile, it cannot be read, or it is not hosted. "
        "Only what runs elsewhere still answers when this rig does not.",
        "name a profile with engine hosted under fallback: launchpad profiles list",
    ),
    "host.mount-missing": Explained(
        "A path that the profile mounts is not there. Docker would make an empty directory, owned by root, in its place.",
        "make the path, or correct mounts in the profile",
    ),
    "host.no-room-for-weights": Explained(
        "The server fetches its own weights into a volume, and less is free where Docker keeps volumes than may come.",
        "free some (docker system df), or move Docker's data-root to a larger disk",
    ),
    "host.port-claimed": Explained(
        "Another deployment of this launchpad is wanted on the same address and port, whether or not it listens right now.",
        "launchpad down the other, or set another publish.port",
    ),
    "host.port-in-use": Explained(
        "Something that is no deployment listens on the address and port where this one is to answer.",
        "end it (ss -ltnp shows it), or set another publish.port",
    ),
    "hosted.key-in-clear": Explained(
        "The profile sends a key to a hosted endpoint by http: who sees the traffic on its way has the key.",
        "set hosted.base_url to the https address",
    ),
    "hosted.leaves-rig": Explained(
        "A hosted deployment runs at somebody else's: what is asked of it leaves this rig, and is paid for. Nothing is wrong with "
        "that; it is told so that nobody finds out later.",
        "where that must not be, ask a deployment that runs here",
    ),
    "image.missing": Explained(
        'The image is not on this Docker Engine, and image.pull = "never" forbids to fetch it.',
        'docker pull or docker load it, or set image.pull = "missing"',
    ),
    "image.not-pinned": Explained(
        "The image is named by a tag alone. A registry may put another image behind it, and the next pull would bring that.",
        "put its sha256:... under image.digest, or pin all of it: launchpad lock NAME",
    ),
    "model.incomplete": Explained(
        "The model's directory lacks files that its index names, or holds some that are too short: a download that was cut off.",
        "fetch what is missing: launchpad pull NAME --model-only, or hf download",
    ),
    "model.outside-mount": Explained(
        "A file of the model's directory, or of the draft model's, is a link to somewhere else: a snapshot of a hub cache is made "
        "of links to ../../blobs. Only the directory itself is mounted, at /models/ and its own name in the container, so the link "
        "leads nowhere there, and the engine cannot read what can be read here. An absolute link is one out of the directory, too: "
        "the container has other paths.",
        "copy the directory with its links followed (cp -rL, or cp -rlL for hard links on the same disk) and name the copy; fetch "
        "it into a folder of its own (launchpad pull NAME --model-only, hf download --local-dir); or mount what the links lead to "
        "where the container looks for it: [[mounts]]",
    ),
    "model.unreadable": Explained(
        "The model's directory cannot be read: it is not there, is no model, or belongs to somebody else.",
        "correct model.path in the profile, or its permissions",
    ),
    "power.over-budget": Explained(
        "The power limits of the deployment's GPUs add up to more than power.budget_w. A supply or breaker that trips under load "
        "takes the whole rig down.",
        "lower the limits: power.cap_w in the profile, or nvidia-smi -pl",
    ),
    "power.unknown": Explained(
        "The profile has a power.budget_w, and the power limits of its GPUs are unknown, so it was not judged.",
        "nvidia-smi -q -d POWER shows what the driver tells; on a recorded rig nothing is to be done",
    ),
    "publish.not-loopback": Explained(
        "The engine is published beyond this machine. It has no password: whoever reaches the port may use it.",
        'put a proxy with TLS and keys before it, or set publish.host = "127.0.0.1" and use ssh -L',
    ),
    "rig.cannot-place": Explained(
        "The rig has no seat for the profile: too few GPUs, of another compute capability, with less memory, or held by other "
        "deployments. The finding says which.",
        "choose a profile for this rig (launchpad profiles list), bring down who holds its GPUs, or change gpus in the profile",
    ),
    "rig.no-survey": Explained(
        "The GPUs of this rig cannot be counted: the driver, or its library NVML, gives no answer.",
        "nvidia-smi shows the same; mend the driver",
    ),
    "secret.missing": Explained(
        "A secret that the profile requires is not set in the environment, or its file cannot be read.",
        "export it, correct from_env or from_file, or say required = false where it can do without",
    ),
}
