"""What every engine must say about itself, and what all of them share.

An engine turns a profile into container specs, names the HTTP paths that tell its health, and says where a stage of its load
shows in its log. It knows flags and never Docker; it is pure: the same profile and seat give the same specs. What only one
engine does stands in that engine's file.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, Protocol

from launchpad.engines.speculative import draft_path
from launchpad.rig.facts import Gpu
from launchpad.runtime.base import ContainerSpec, Mount, Port, SecretRef, Ulimit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from launchpad.profiles.schema import ArgumentValue, Profile

#: Where the model hub's files live inside a container, on a volume of their own: weights must not die with a JIT cache.
HUB_VOLUME: Final = "launchpad-hub"
HUB_MOUNT: Final = "/hub"
#: The role of the container in which the engine runs, where another stands in front of it.
ROLE_WORKER: Final = "worker"


@dataclass(frozen=True, slots=True)
class Seat:
    """What a rig grants a deployment: its name, its GPUs, its cache volume, and the image's id where it is known."""

    deployment: str
    gpus: tuple[Gpu, ...] = ()
    cache_volume: str | None = None
    image_id: str | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """How an engine is asked. ``ready_paths`` are tried in order; the first that is not 404 counts.

    Times are in seconds. ``live_failures`` in a row of the liveness question mean that the server does not live.
    ``metrics_path`` is where it serves Prometheus metrics, None where it does not. Without traffic one token is asked for
    every ``idle_interval_s``. A start is asked every ``start_interval_s``, an UNREADY replica every ``unready_interval_s``, or
    as often as a READY one where that is more often.
    """

    ready_paths: tuple[str, ...]
    ready_timeout_s: float
    live_path: str
    live_interval_s: float
    live_timeout_s: float
    live_failures: int
    metrics_path: str | None = None
    idle_interval_s: float = 60.0
    start_interval_s: float = 0.1
    unready_interval_s: float = 1.0


@dataclass(frozen=True, slots=True)
class StageMark:
    """A log line that shows a stage of the load. Groups ``done`` and ``total`` count within it, where the line has them."""

    stage: str
    pattern: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a load is: a stage, and ``done`` of ``total`` within it where the engine counts."""

    stage: str
    done: int | None = None
    total: int | None = None

    def __str__(self) -> str:
        """For people: ``weights 12/46``."""
        return self.stage if self.total is None else f"{self.stage} {self.done}/{self.total}"


class Engine(Protocol):
    """One inference server."""

    name: str
    #: The port it listens on where nothing else is said.
    port: int
    #: Stages in the order a load goes through them; the last one means that the engine says it serves.
    stages: tuple[str, ...]
    marks: tuple[StageMark, ...]

    def render(self, profile: Profile, seat: Seat) -> tuple[ContainerSpec, ...]:
        """The containers that make this profile real in that seat, in start order."""

    def health(self, profile: Profile) -> Health:
        """How to ask it, with the profile's own words where it has any."""


def progress_of(marks: Iterable[StageMark], line: str) -> Progress | None:
    """The stage that ``line`` shows, or None. The first mark that matches wins."""
    for mark in marks:
        if found := mark.pattern.search(line):
            groups = found.groupdict()
            done, total = groups.get("done"), groups.get("total")
            if done is not None and total is not None:
                return Progress(mark.stage, int(done), int(total))
            return Progress(mark.stage)
    return None


def mark(stage: str, pattern: str) -> StageMark:
    """A stage and the log line that shows it."""
    return StageMark(stage, re.compile(pattern))


#: tqdm's counter at the end of a bar: ``| 12/46 [00:10<00:30``.
COUNTER: Final = r".*?\|\s*(?P<done>\d+)/(?P<total>\d+)"


def model_path(profile: Profile) -> str:
    """What the engine is told to load: the mount's path, the path inside the image, or the hub repository."""
    model = profile.model
    if model.path is not None:
        return f"/models/{PurePosixPath(model.path).name}"
    return model.in_image or model.repo or ""


def memory_fraction(profile: Profile) -> float | None:
    """The share of each GPU's memory that the engine is told to take: its own word, else what it may take beside others."""
    share = profile.gpus.share if profile.gpus is not None else None
    return share if profile.serving.memory_fraction is None else profile.serving.memory_fraction


def flags(arguments: Mapping[str, ArgumentValue]) -> tuple[str, ...]:
    """``engine_args`` as words: true is a bare flag, false is left out, a list repeats values, a table becomes JSON."""
    words: list[str] = []
    for name, value in arguments.items():
        if value is False:
            continue
        words.append(f"--{name}")
        if value is True:
            continue
        if isinstance(value, dict):
            words.append(json.dumps(value, sort_keys=True, separators=(",", ":")))
        elif isinstance(value, list):
            words.extend(str(item) for item in value)
        else:
            words.append(str(value))
    return tuple(words)


def typed(**values: str | float | bool | None) -> dict[str, ArgumentValue]:
    """Flags from typed fields: underscores become dashes; None and False are left out."""
    return {name.replace("_", "-"): value for name, value in values.items() if value is not None and value is not False}


def container(
    profile: Profile,
    seat: Seat,
    *,
    command: tuple[str, ...],
    entrypoint: tuple[str, ...] | None,
    container_port: int,
    env: Mapping[str, str],
) -> ContainerSpec:
    """One server container with everything that does not depend on the engine. The profile's ``env`` wins over ``env``."""
    table = profile.container
    merged = {**env, **{name: str(value) for name, value in profile.env.items()}}
    return ContainerSpec(
        role="server",
        name=f"launchpad-{seat.deployment}",
        image=image_reference(profile),
        image_id=seat.image_id,
        command=command,
        entrypoint=tuple(profile.entrypoint) if profile.entrypoint else entrypoint,
        env=tuple(sorted(merged.items())),
        secrets=tuple(
            SecretRef(name, secret.from_env, secret.from_file, secret.required)
            for name, secret in sorted(profile.secrets.items())
        ),
        mounts=_mounts(profile, seat),
        ports=(Port(container_port, profile.own_publish.host, profile.own_publish.port),),
        gpus=tuple(gpu.uuid for gpu in seat.gpus) if profile.gpus is not None else None,
        ipc=table.ipc,
        shm_bytes=table.shm_size if table.ipc == "private" else None,
        ulimits=tuple(
            Ulimit(name, limit, limit)
            for name, limit in (
                ("memlock", table.ulimits.memlock),
                ("nofile", table.ulimits.nofile),
                ("stack", table.ulimits.stack),
            )
            if limit is not None
        ),
        init=table.init,
        user=table.user,
        cap_add=tuple(sorted(table.capabilities)),
        memory_bytes=table.memory_limit,
        read_only_root=table.read_only_root,
    )


def image_reference(profile: Profile) -> str:
    """What Docker is asked for: with a digest the tag is only a comment, so the digest alone decides."""
    reference = profile.own_image.reference
    if profile.own_image.digest is None:
        return reference
    name, colon, tag = reference.rpartition(":")
    repository = name if colon and "/" not in tag else reference
    return f"{repository}@{profile.own_image.digest}"


def _mounts(profile: Profile, seat: Seat) -> tuple[Mount, ...]:
    mounts = []
    if profile.model.path is not None:
        mounts.append(Mount("bind", profile.model.path, model_path(profile), read_only=True))
    if profile.speculative is not None and profile.speculative.draft_model is not None:
        draft = profile.speculative.draft_model
        mounts.append(Mount("bind", draft, draft_path(draft), read_only=True))
    if profile.model.repo is not None:
        mounts.append(Mount("volume", HUB_VOLUME, HUB_MOUNT, read_only=False))
    if seat.cache_volume is not None:
        mounts.append(Mount("volume", seat.cache_volume, profile.cache.mount, read_only=False))
    mounts.extend(Mount("bind", item.source, item.target, read_only=not item.writable) for item in profile.mounts)
    return tuple(mounts)


def hub_env(profile: Profile) -> dict[str, str]:
    """Where the engine keeps what it fetches from the model hub, for models named by ``repo``."""
    return {"HF_HOME": HUB_MOUNT} if profile.model.repo is not None else {}


#: Where the file that ``engine_config`` stands for is put, inside the container.
CONFIG_PATH: Final = "/tmp/engine.yaml"  # noqa: S108 - the container's own /tmp
CONFIG_ENV: Final = "LAUNCHPAD_ENGINE_CONFIG"
#: Writes that file and goes on with the command, through the entrypoint that NVIDIA's images have.
_WRITE_CONFIG: Final = (
    f'printf %s "${CONFIG_ENV}" > "$0" || exit; nvidia=/opt/nvidia/nvidia_entrypoint.sh; '
    'if [ -x "$nvidia" ]; then set -- "$nvidia" "$@"; fi; exec "$@"'
)


def with_config(profile: Profile) -> tuple[tuple[str, ...] | None, dict[str, str]]:
    """Entrypoint and environment that hand ``engine_config`` to an engine that reads it from a file; JSON is YAML, too.

    Nothing is written on the rig for it, so a spec is whole in itself and its hash covers it. Without one the image's own
    entrypoint stays.
    """
    if not profile.engine_config:
        return None, {}
    text = json.dumps(profile.engine_config, sort_keys=True, separators=(",", ":"))
    return ("/bin/sh", "-c", _WRITE_CONFIG, CONFIG_PATH), {CONFIG_ENV: text}


def cache_env(profile: Profile, seat: Seat, own: Mapping[str, str]) -> dict[str, str]:
    """Environment that moves every compile cache onto the cache volume; empty without one.

    ``own`` are the engine's variables with their folders below the volume; the others are those of the libraries that all
    engines share, each said aloud because which ones an engine moves by itself differs from release to release.
    """
    if seat.cache_volume is None:
        return {}
    root = profile.cache.mount.rstrip("/")
    shared = {
        "TRITON_CACHE_DIR": "triton",
        "TORCHINDUCTOR_CACHE_DIR": "inductor",
        "CUDA_CACHE_PATH": "nv",
        "TILELANG_CACHE_DIR": "tilelang",
    }
    below = {name: f"{root}/{folder}" for name, folder in {**shared, **own}.items()}
    return {**below, "FLASHINFER_WORKSPACE_BASE": root}


def health_with(profile: Profile, default: Health) -> Health:
    """``default`` with whatever the profile's ``probes`` say instead."""
    ready, live = profile.probes.readiness, profile.probes.liveness
    return Health(
        ready_paths=(ready.path,) if ready.path else default.ready_paths,
        ready_timeout_s=ready.timeout.total_seconds() if ready.timeout else default.ready_timeout_s,
        live_path=live.path or default.live_path,
        live_interval_s=live.interval.total_seconds() if live.interval else default.live_interval_s,
        live_timeout_s=live.timeout.total_seconds() if live.timeout else default.live_timeout_s,
        live_failures=live.failures or default.live_failures,
        metrics_path=default.metrics_path if profile.serving.metrics else None,
        idle_interval_s=live.idle.total_seconds() if live.idle else default.idle_interval_s,
        start_interval_s=default.start_interval_s,
        unready_interval_s=default.unready_interval_s,
    )
