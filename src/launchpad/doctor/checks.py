"""Checks that look before anything is started.

Each check is a small function that looks at one thing and yields what it found; :func:`preflight` runs them all, so that a person
mends everything at once and not one thing a run. What is looked at from outside (ports, files, the runtime) comes in through
:class:`Eyes`. Nothing here stops a launch: the caller does, by the findings.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from launchpad.deploy.apply import read_secrets
from launchpad.doctor.finding import Finding, worst_first
from launchpad.engines.speculative import draft_path
from launchpad.errors import LaunchpadError
from launchpad.model.checkpoint import Checkpoint, strays
from launchpad.units import show_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launchpad.deploy.claims import Claims
    from launchpad.deploy.observe import Observed
    from launchpad.deploy.spec import Spec
    from launchpad.rig.facts import RigFacts


#: Docker's template for the digest without the repository before it, as ``image.digest`` wants it.
_BARE_DIGEST: Final = '{{index (split (index .RepoDigests 0) "@") 1}}'


@dataclass(frozen=True, slots=True)
class Eyes:
    """How a check looks outside: who listens on a port, what is in a model directory, the environment.

    ``published`` is where this very deployment is wanted already, which is no obstacle to itself. ``room`` tells the bytes that are
    free where Docker keeps its volumes, None where that cannot be told.
    """

    port_holder: Callable[[str, int], str | None]
    checkpoint: Callable[[Path], Checkpoint]
    environ: Mapping[str, str]
    published: tuple[str, int] | None = None
    room: Callable[[], int | None] = lambda: None


def preflight(spec: Spec, facts: RigFacts, found: Observed, claims: Claims, eyes: Eyes | None) -> tuple[Finding, ...]:
    """Everything that speaks against starting ``spec`` now, worst first.

    Without ``eyes`` only what the spec and the facts themselves tell is judged: the spec is for another rig than this one.
    """
    if spec.hosted is not None:
        return worst_first([*_leaves_the_rig(spec), *(_secrets(spec, eyes) if eyes is not None else ())])
    findings = [*_image_pinned(spec), *_published(spec), *_power(spec, facts), *_room(spec, facts, found, eyes)]
    if eyes is not None:
        findings.extend(_port(spec, claims, eyes))
        findings.extend(_strangers(found))
        findings.extend(_image_here(spec, found))
        findings.extend(_secrets(spec, eyes))
        if spec.rehearsal is None:
            findings.extend(_model(spec, eyes))
            findings.extend(_strays(spec, eyes))
            findings.extend(_mounts(spec))
    return worst_first(findings)


def _leaves_the_rig(spec: Spec) -> Iterator[Finding]:
    """Who hears what is asked of a hosted endpoint, and of its key."""
    if spec.host in {"127.0.0.1", "::1", "localhost"}:
        return
    yield Finding(
        "hosted.leaves-rig",
        "informs",
        f"what is asked of {spec.name} leaves this rig for {spec.host}, and is paid for",
        "ask a deployment that runs here where that must not be",
    )
    if spec.hosted is not None and spec.hosted.key is not None and spec.endpoint.startswith("http:"):
        yield Finding(
            "hosted.key-in-clear",
            "warns",
            f"the key of {spec.name} crosses the network unencrypted: {spec.endpoint} is no https",
            "set hosted.base_url to its https address",
        )


def _port(spec: Spec, claims: Claims, eyes: Eyes) -> Iterator[Finding]:
    where = f"{spec.host}:{spec.port}"
    if holder := claims.port_holder(spec.host, spec.port):
        yield Finding(
            "host.port-claimed",
            "blocks",
            f"cannot publish {where}: deployment {holder} is published there",
            f"launchpad down {holder}, or set another publish.port in the profile",
        )
        return
    if eyes.published == (spec.host, spec.port):
        return  # we ourselves listen there, or are about to
    if holder := eyes.port_holder(spec.host, spec.port):
        yield Finding(
            "host.port-in-use",
            "blocks",
            f"cannot publish {where}: {holder} listens there",
            f"end it (ss -ltnp 'sport = :{spec.port}' shows it), or set another publish.port in the profile",
        )


def _strangers(found: Observed) -> Iterator[Finding]:
    for container in found.strangers:
        yield Finding(
            "docker.other-owner",
            "blocks",
            f"cannot use the name {container.name}: a launchpad with another state directory made that container",
            f"bring it down there, or: docker rm -f {container.name}",
            evidence=container.id[:12],
        )


def _image_here(spec: Spec, found: Observed) -> Iterator[Finding]:
    image = spec.own_image
    if found.image is None and image.pull == "never" and image.build_template is None and spec.rehearsal is None:
        yield Finding(
            "image.missing",
            "blocks",
            f"cannot start {spec.name}: image {image.reference} is not on this Docker Engine and image.pull is never",
            f'docker pull {image.reference}, or docker load it, or set image.pull = "missing"',
        )


def _image_pinned(spec: Spec) -> Iterator[Finding]:
    image = spec.own_image
    if "@sha256:" not in image.reference and image.build_template is None and spec.rehearsal is None:
        yield Finding(
            "image.not-pinned",
            "informs",
            f"image {image.reference} is pinned by tag only; the registry may move it",
            f"put its sha256:... under image.digest: docker image inspect --format '{_BARE_DIGEST}' {image.reference}",
        )


def _room(spec: Spec, facts: RigFacts, found: Observed, eyes: Eyes | None) -> Iterator[Finding]:
    """Where the first start fetches a model there must be room for it; what an earlier one has fetched is not known."""
    cache = spec.cache
    if cache is None or cache.weights_bytes is None or found.cache_exists or spec.rehearsal is not None:
        return
    recorded = next((disk.free_bytes for disk in facts.disks or () if disk.what == "docker"), None)
    free = eyes.room() if eyes is not None else recorded
    if free is not None and free < cache.weights_bytes:
        yield Finding(
            "host.no-room-for-weights",
            "blocks",
            f"cannot fetch the weights of {spec.name} into volume {cache.volume}: up to {show_bytes(cache.weights_bytes)} are to "
            f"come and {show_bytes(free)} are free",
            "free some where Docker keeps its volumes (docker system df), or move Docker's data-root to a larger disk",
        )


def _secrets(spec: Spec, eyes: Eyes) -> Iterator[Finding]:
    try:
        read_secrets(spec, eyes.environ)
    except LaunchpadError as error:
        yield Finding("secret.missing", "blocks", error.message, error.hint)


def _published(spec: Spec) -> Iterator[Finding]:
    if spec.host not in {"127.0.0.1", "::1"}:
        yield Finding(
            "publish.not-loopback",
            "warns",
            f"{spec.name} will answer on {spec.host}:{spec.port} without a password, to anybody who reaches this rig",
            'put a proxy with TLS and keys before it, or set publish.host = "127.0.0.1" and use ssh -L',
        )


def _power(spec: Spec, facts: RigFacts) -> Iterator[Finding]:
    if spec.power_budget_w is None or not spec.gpus:
        return
    chosen = [gpu for gpu in facts.gpus or () if gpu.uuid in {seat.uuid for seat in spec.gpus}]
    cap = spec.power_cap_w  # set before the load: a limit above it will not stand
    limits = [cap if cap and gpu.power_limit_w and gpu.power_limit_w > cap else gpu.power_limit_w for gpu in chosen]
    if None in limits or len(chosen) != len(spec.gpus):
        yield Finding("power.unknown", "informs", f"the power limits of {spec.name}'s GPUs are unknown")
        return
    total = sum(limit for limit in limits if limit is not None)
    if total > spec.power_budget_w:
        each = spec.power_budget_w // len(chosen)
        yield Finding(
            "power.over-budget",
            "warns",
            f"the GPUs of {spec.name} may draw {total:.0f} W together, power.budget_w is {spec.power_budget_w} W",
            f"sudo nvidia-smi -i {','.join(str(gpu.index) for gpu in chosen)} -pl {each}",
        )


def _model(spec: Spec, eyes: Eyes) -> Iterator[Finding]:
    if spec.model_path is None:
        return
    try:
        checkpoint = eyes.checkpoint(Path(spec.model_path))
    except LaunchpadError as error:
        yield Finding("model.unreadable", "blocks", error.message, error.hint)
        return
    problems = checkpoint.problems()
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        yield Finding(
            "model.incomplete",
            "blocks",
            f"cannot serve {spec.model_path}: {problems[0]}{more}",
            f"fetch what is missing: hf download REPO --local-dir {spec.model_path}",
            evidence="; ".join(problems[:20]),
        )


def _strays(spec: Spec, eyes: Eyes) -> Iterator[Finding]:
    """Files of the model, or of its draft model, that are links to what no container of the deployment sees."""
    told: set[str] = set()
    for container in spec.containers:
        binds = {mount.target: mount.source for mount in container.mounts if mount.kind == "bind"}
        for target, source in binds.items():
            if source in told or (source != spec.model_path and target != draft_path(source)):
                continue
            try:
                found = strays(Path(source), eyes.checkpoint(Path(source)).linked, binds, target)
            except (LaunchpadError, OSError):
                continue  # told by the check of the model, or by the engine of a draft model
            if not found:
                continue
            told.add(source)
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            copy, key = _whole(Path(source)), "model.path" if source == spec.model_path else "speculative.draft_model"
            yield Finding(
                "model.outside-mount",
                "blocks",
                f"cannot read {found[0].name} of {source} in {container.name}: it is a link out of that folder, and the container "
                f"sees nothing at {found[0].wanted}{more}",
                f"cp -rlL {shlex.quote(source)} {shlex.quote(str(copy))} (hard links; to another disk: cp -rL), "
                f"and set {key} to the copy",
                evidence="; ".join(f"{stray.name} -> {stray.wanted}" for stray in found[:20]),
            )


def _whole(folder: Path) -> Path:
    """What a copy without links may be called: beside the folder, or beside the hub cache that it is a snapshot of."""
    if folder.parent.name != "snapshots":
        return folder.with_name(f"{folder.name}-whole")
    held = folder.parent.parent
    return held.with_name(f"{held.name.rpartition('--')[2]}-whole")


def _mounts(spec: Spec) -> Iterator[Finding]:
    for container in spec.containers:
        for mount in container.mounts:
            if mount.kind == "bind" and mount.source != spec.model_path and not Path(mount.source).exists():
                yield Finding(
                    "host.mount-missing",
                    "blocks",
                    f"cannot mount {mount.source} into {container.name}: there is no such path",
                    f"mkdir -p {mount.source}, or correct mounts in the profile",
                )
