"""The container runtime as the rest of launchpad sees it: values in, values out.

A :class:`ContainerSpec` is what we ask for, a :class:`Container` is what we observe. :class:`Runtime` is the door; the one
behind it is ``runtime/docker/`` (and the fake in ``tests/``, held to the same contract). Nothing here imports a Docker
library, and nothing here decides: a runtime does exactly what it is told or raises from :mod:`launchpad.errors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from launchpad.runtime.archive import Tree

#: Labels on a container are the truth about what runs; one constant each.
LABEL_PREFIX: Final = "io.launchpad."
#: The deployment a container belongs to.
LABEL_DEPLOYMENT: Final = "io.launchpad.deployment"
#: The spec hash it was created from: equal means adopt, different means drift.
LABEL_SPEC_HASH: Final = "io.launchpad.spec-hash"
#: The container's role inside its deployment (``server`` where there is only one).
LABEL_ROLE: Final = "io.launchpad.role"
#: Comma-separated UUIDs of the GPUs it was given; empty for none.
LABEL_GPUS: Final = "io.launchpad.gpus"
#: ``true`` where a stand-in engine serves, never a real one.
LABEL_REHEARSAL: Final = "io.launchpad.rehearsal"
#: On volumes: what a cache volume is keyed by, for people.
LABEL_CACHE: Final = "io.launchpad.cache"
#: Comma-separated names (never values) of the environment variables that carry secrets; the runtime writes it at create.
LABEL_SECRETS: Final = "io.launchpad.secrets"
#: The state directory of the launchpad that owns it: two launchpads on one Docker Engine never adopt each other's.
LABEL_OWNER: Final = "io.launchpad.owner"


@dataclass(frozen=True, slots=True)
class Mount:
    """A path made visible inside a container; ``source`` is a host path or, for ``volume``, a volume's name."""

    kind: Literal["bind", "volume", "tmpfs"]
    source: str
    target: str
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class Port:
    """A container's TCP port published on one host address."""

    container_port: int
    host: str
    host_port: int


@dataclass(frozen=True, slots=True)
class Ulimit:
    """A resource limit; -1 is unlimited. ``soft`` and ``hard`` are in the unit of ``setrlimit(2)``."""

    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class SecretRef:
    """A secret by name: never its value. Exactly one of ``from_env`` and ``from_file`` says where apply reads it."""

    env: str
    from_env: str | None = None
    from_file: str | None = None
    required: bool = True


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One container, fully resolved: nothing is left for the runtime to default.

    ``command`` is appended to ``entrypoint``; ``entrypoint`` None keeps the image's own. ``gpus`` are the UUIDs (or
    indices) handed to the NVIDIA runtime: None asks for no GPU at all. ``ipc`` is ``private``, ``shareable`` or ``host``, and
    ``network`` is ``bridge``, ``host`` or ``none``; ``container:NAME`` joins what that container has. ``shm_bytes`` is void
    where /dev/shm is somebody else's.
    """

    role: str
    name: str
    image: str
    image_id: str | None
    command: tuple[str, ...]
    entrypoint: tuple[str, ...] | None = None
    env: tuple[tuple[str, str], ...] = ()
    secrets: tuple[SecretRef, ...] = ()
    mounts: tuple[Mount, ...] = ()
    ports: tuple[Port, ...] = ()
    gpus: tuple[str, ...] | None = None
    ipc: str = "private"
    shm_bytes: int | None = None
    ulimits: tuple[Ulimit, ...] = ()
    init: bool = True
    user: str | None = None
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ("ALL",)
    no_new_privileges: bool = True
    network: str = "bridge"
    memory_bytes: int | None = None
    read_only_root: bool = False
    stop_signal: str = "SIGTERM"
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a container's first process ended; ``signal`` is derived from codes above 128."""

    code: int
    oom_killed: bool = False
    error: str = ""

    @property
    def signal(self) -> int | None:
        """The signal number a code above 128 stands for, else None."""
        return self.code - 128 if 128 < self.code < 128 + 65 else None


@dataclass(frozen=True, slots=True)
class Container:
    """One container as observed. ``exit`` is None while it runs or was never started.

    ``labels`` are the spec's and the image's own: never look for an exact set. ``image`` is what it was created from.
    Of a very short life Docker may note the end some milliseconds before the start.
    """

    id: str
    name: str
    image: str
    image_id: str
    status: Literal["created", "running", "paused", "restarting", "removing", "exited", "dead"]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    exit: ExitStatus | None
    pid: int | None
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def running(self) -> bool:
        """Whether its first process is alive (a paused one is)."""
        return self.status in {"running", "paused"}

    @property
    def deployment(self) -> str | None:
        """The deployment its labels name."""
        return self.labels.get(LABEL_DEPLOYMENT)


@dataclass(frozen=True, slots=True)
class Image:
    """An image present on the runtime. ``id`` is its content hash; ``digests`` are the registry's, where it came from one.

    ``layers`` are the SHA-256 of its layers' tars, base first, and ``config_hash`` that of what its metadata tells a container
    (environment, entrypoint, command, user, labels, ...): both are the same on every engine, whereas Docker's containerd store
    counts another ``id`` than its classic one.
    """

    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    size_bytes: int
    created_at: datetime | None
    env: tuple[tuple[str, str], ...] = ()
    entrypoint: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    config_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Transfer:
    """Progress of a pull or a build: ``done``/``total`` bytes where known, else None, and a word on what goes on.

    ``said`` is the last line that a running build step wrote.
    """

    what: str
    done: int | None = None
    total: int | None = None
    said: str | None = None


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line a container wrote; ``at`` is the runtime's own timestamp."""

    at: datetime | None
    stream: Literal["stdout", "stderr"]
    text: str


@dataclass(frozen=True, slots=True)
class RuntimeEvent:
    """Something happened to a container we label: ``action`` is Docker's word (``die``, ``oom``, ``destroy``, ...).

    ``exit_code`` comes with ``die`` alone.
    """

    at: datetime
    action: str
    container_id: str
    deployment: str | None
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """The runtime itself. ``gpu_ready`` None means it could not be told.

    ``cpus`` and ``memory_bytes`` are those of the machine it runs on, ``root_dir`` the directory of its images where that is this
    machine, each None where unknown. ``buildkit`` says that it builds with BuildKit.
    """

    version: str
    api_version: str
    storage_driver: str
    cgroup_version: str
    runtimes: tuple[str, ...]
    gpu_ready: bool | None
    buildkit: bool = False
    cpus: int | None = None
    memory_bytes: int | None = None
    root_dir: str | None = None


class ImageFiles(Protocol):
    """The files of an image, looked at without running it."""

    def read(self, path: str, wanted: Callable[[str], bool]) -> Tree | None:
        """The regular files at or under ``path`` (absolute), with the bytes of those whose name is wanted; None: no such path."""


class Runtime(Protocol):
    """What runs containers. Every method raises :class:`~launchpad.errors.LaunchpadError`, never a foreign error."""

    def info(self) -> RuntimeInfo:
        """Facts about the runtime; raises RuntimeUnavailable where it does not answer."""

    def image(self, reference: str) -> Image | None:
        """The image of that reference or id where it is present, else None."""

    def pull(self, reference: str, progress: Callable[[Transfer], None]) -> Image:
        """Fetch an image from its registry; raises ImageError with the registry's reason."""

    def build(
        self,
        context: Mapping[str, bytes | Path],
        tag: str,
        *,
        build_args: Mapping[str, str],
        labels: Mapping[str, str],
        network: str | None,
        progress: Callable[[Transfer], None],
        buildkit: bool = False,
        no_cache: bool = False,
    ) -> Image:
        """Build from ``context`` (path in the context -> bytes, or a file to stream), whose ``Dockerfile`` it runs.

        With ``buildkit`` the images it is built FROM must be on the engine already. What ended before an interruption is kept,
        and used by the next build of the same, unless ``no_cache``.
        """

    def import_image(self, tar: Path, tag: str, *, changes: tuple[str, ...]) -> Image:
        """Make a one-layer image of a root filesystem's tar; ``changes`` are Dockerfile instructions."""

    def tag(self, image_id: str, reference: str) -> None:
        """Give an image one more name, taking it from any other that has it; raises ImageError."""

    def save_image(self, image_id: str) -> AbstractContextManager[Iterator[bytes]]:
        """The image as a tar, in chunks, without its tags; raises ImageError."""

    def load_image(self, tar: Iterable[bytes]) -> Image:
        """Take in what :meth:`save_image` gave, also on another rig; raises ImageError where the tar is damaged."""

    def volume_path(self, name: str) -> Path | None:
        """Where a named volume's files lie on this rig, None where there is none or the engine is elsewhere."""

    def files(self, image_id: str) -> AbstractContextManager[ImageFiles]:
        """Look into an image through a container that is created, never started, and removed on leaving; raises ImageError."""

    def create(self, spec: ContainerSpec, secrets: Mapping[str, str]) -> Container:
        """Create, do not start; ``secrets`` maps environment names to values. Leaves nothing behind when it fails.

        The container carries ``spec.labels``, and LABEL_SECRETS where there are secrets. Raises ContainerError for a name
        in use, a missing image or bind source, ports published on a network that has none.
        """

    def start(self, container_id: str) -> None:
        """Start a created container; raises ContainerError for a port in use, no GPU support, no such program."""

    def signal(self, container_id: str, signal: str) -> None:
        """Send a signal to the first process; a container that is gone is no error."""

    def remove(self, container_id: str) -> None:
        """Remove a container and its anonymous volumes, killing it if need be; one that is gone is no error."""

    def inspect(self, container_id: str) -> Container | None:
        """The container of that id or name, or None where it is gone."""

    def inspect_raw(self, container_id: str) -> dict[str, object] | None:
        """The runtime's own inspect document, for a crash folder; environment values are redacted."""

    def containers(self, deployment: str | None = None) -> tuple[Container, ...]:
        """Containers that launchpad labelled, of one deployment or all, running or not, newest first."""

    def logs(
        self, container_id: str, *, follow: bool = False, since: datetime | None = None, tail: int | None = None
    ) -> AbstractContextManager[Iterator[LogLine]]:
        """Lines the container wrote, oldest first; a follow ends when the container does (so, where it does not run, at once).

        Leaving the context ends a follow from another thread too, at once. ``since`` is inclusive; ``tail`` counts lines as
        they were written (a progress bar's updates are one). Entering raises ContainerError where the container is gone.
        """

    def output(self, container_id: str) -> AbstractContextManager[Iterator[LogLine]]:
        """What a running container writes from now on, as it writes it: a log gives a progress bar only once its line ends.

        Lines carry no time. Leaving the context ends the stream from another thread too.
        """

    def events(self) -> AbstractContextManager[Iterator[RuntimeEvent]]:
        """Events from now on of labelled containers; leaving the context ends the stream from another thread too.

        Only a container's life is told (create, start, oom, kill, die, destroy, ...), never what our own questions cause.
        The iterator never ends of itself: it raises RuntimeUnavailable where the connection breaks.
        """

    def pids(self, container_id: str) -> tuple[int, ...]:
        """Host process ids inside the container, empty where it is gone or does not run."""

    def volume_exists(self, name: str) -> bool:
        """Whether a volume of that name exists."""

    def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Create a named volume; one that exists is no error."""

    def remove_volume(self, name: str) -> None:
        """Remove a named volume; one that is gone is no error, one in use raises ContainerError."""

    def close(self) -> None:
        """Let go of connections."""
