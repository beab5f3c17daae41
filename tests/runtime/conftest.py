"""The two runtimes the contract is held against, and what each needs to act a part.

A :class:`Program` is what the container's process does. The real stage writes it as a shell script for a one-file image
(busybox-static, no registry); the fake one acts it out. A Docker Engine that does not answer is a failure, never a skip.
"""

from __future__ import annotations

import io
import os
import tarfile
import time
import uuid
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from launchpad.runtime.base import LABEL_DEPLOYMENT, LABEL_OWNER, Container, ContainerSpec, Image, Runtime
from launchpad.runtime.docker import connect
from tests.fakes.runtime import FakeRuntime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BUSYBOX = Path("/bin/busybox")
IMAGE = "launchpad-contract/busybox:2"
#: What the image holds beside busybox; None is a link to /etc/shadow.
FILES: dict[str, bytes | None] = {
    "/opt/site/engine/version.py": b'__version__ = "1.2.3"\n',
    "/opt/site/engine/notes.txt": b"notes\n",
    "/opt/site/engine/shadow": None,
}


@dataclass(frozen=True)
class Program:
    """What a container does: says its lines, then exits with ``code``, or eats memory, or (None) stays."""

    says: tuple[str, ...] = ()
    complains: tuple[str, ...] = ()
    code: int | None = None
    eats_memory: bool = False
    obeys_sigterm: bool = True

    @property
    def script(self) -> str:
        lines = [f"printf '%s\\n' '{line}'" for line in self.says]
        lines += [f"printf '%s\\n' '{line}' >&2" for line in self.complains]
        if self.eats_memory:
            lines += ["exec tail /dev/zero"]
        elif self.code is not None:
            lines += [f"exit {self.code}"]
        else:
            lines += ["trap 'exit 0' TERM" if self.obeys_sigterm else "trap '' TERM", "while :; do sleep 0.1; done"]
        return "\n".join(lines)


STAYS = Program()


class Stage(Protocol):
    """A runtime and the means to have containers act on it."""

    runtime: Runtime
    image: Image
    deployment: str

    def spec(self, program: Program = STAYS, **changes: Any) -> ContainerSpec: ...

    def run(self, program: Program = STAYS, **changes: Any) -> Container: ...

    def missing_path(self) -> str: ...


class _Specs:
    """Specs with names of their own, so that two runs never meet."""

    def __init__(self) -> None:
        self.deployment = f"contract-{uuid.uuid4().hex[:8]}"
        self._count = 0

    def make(self, image: Image, program: Program, changes: dict[str, Any]) -> ContainerSpec:
        self._count += 1
        settings: dict[str, Any] = {
            "role": "server",
            "name": f"launchpad-{self.deployment}-{self._count}",
            "image": IMAGE,
            "image_id": image.id,
            "command": (program.script,),
            "entrypoint": ("/bin/sh", "-c"),
            "init": False,
            "labels": ((LABEL_DEPLOYMENT, self.deployment), (LABEL_OWNER, "contract")),
        }
        return ContainerSpec(**(settings | changes))


class FakeStage:
    """The stand-in acts the program out."""

    def __init__(self) -> None:
        self.fake = FakeRuntime()
        self.runtime: Runtime = self.fake
        self.image = self.fake.add_image(IMAGE)
        self.fake.image_files.update(FILES)
        self._specs = _Specs()
        self.deployment = self._specs.deployment
        self._programs: dict[str, Program] = {}

    def spec(self, program: Program = STAYS, **changes: Any) -> ContainerSpec:
        spec = self._specs.make(self.image, program, changes)
        self._programs[spec.name] = program
        return spec

    def run(self, program: Program = STAYS, **changes: Any) -> Container:
        container = self.runtime.create(self.spec(program, **changes), {})
        self.runtime.start(container.id)
        for line in program.says:
            self.fake.write_log(container.id, line)
        for line in program.complains:
            self.fake.write_log(container.id, line, stream="stderr")
        if program.eats_memory:
            self.fake.exit(container.id, 137, oom=True)
        elif program.code is not None:
            self.fake.exit(container.id, program.code)
        elif program.obeys_sigterm:
            self.fake.dies_on(container.id, "SIGTERM", 0)
        return container

    def missing_path(self) -> str:
        self.fake.missing_paths.add("/nowhere/at/all")
        return "/nowhere/at/all"


class DockerStage:
    """The real engine runs the program in a shell."""

    def __init__(self, runtime: Runtime, image: Image) -> None:
        self.runtime = runtime
        self.image = image
        self._specs = _Specs()
        self.deployment = self._specs.deployment

    def spec(self, program: Program = STAYS, **changes: Any) -> ContainerSpec:
        return self._specs.make(self.image, program, changes)

    def run(self, program: Program = STAYS, **changes: Any) -> Container:
        container = self.runtime.create(self.spec(program, **changes), {})
        self.runtime.start(container.id)
        return container

    def missing_path(self) -> str:
        return "/nowhere/at/all"

    def clean(self) -> None:
        for container in self.runtime.containers(self.deployment):
            self.runtime.remove(container.id)


@pytest.fixture(scope="session")
def docker_runtime() -> Iterator[Runtime]:
    runtime = connect(os.environ)
    yield runtime
    runtime.close()


@pytest.fixture(scope="session")
def busybox(docker_runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """An image of one file, made in a moment."""
    if not BUSYBOX.exists():
        pytest.fail("/bin/busybox is missing; install it: apt-get install -y busybox-static")
    archive = tmp_path_factory.mktemp("image") / "busybox.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(BUSYBOX, "bin/busybox")
        for applet in ("sh", "sleep", "cat", "tail", "printf", "id", "head", "seq", "echo", "tr"):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for folder in ("tmp", "proc", "sys", "dev", "etc"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for path, data in FILES.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            if data is None:
                entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/shadow"
            entry.size = len(data or b"")
            tar.addfile(entry, io.BytesIO(data or b""))
    yield docker_runtime.import_image(archive, IMAGE, changes=("ENV PATH=/bin", "LABEL made.by=contract"))
    _remove_images()


def _remove_images() -> None:
    """Whatever the suite built: the engine may be somebody's own. (A runtime removes no images, so docker-py does.)"""
    from docker import from_env
    from docker.errors import APIError

    with closing(from_env()) as client:
        for image in client.images.list(filters={"reference": "launchpad-contract/*"}):
            with suppress(APIError):
                client.images.remove(str(image.id), force=True)
        client.images.prune(filters={"dangling": True, "label": ["made.by=contract"]})


@pytest.fixture
def docker_stage(docker_runtime: Runtime, busybox: Image) -> Iterator[DockerStage]:
    stage = DockerStage(docker_runtime, busybox)
    yield stage
    stage.clean()


@pytest.fixture(params=["fake", pytest.param("docker", marks=pytest.mark.docker)])
def stage(request: pytest.FixtureRequest) -> Stage:
    """The contract's stage: every test that takes it runs on both."""
    if request.param == "fake":
        return FakeStage()
    real: DockerStage = request.getfixturevalue("docker_stage")
    return real


def eventually(holds: Callable[[], Any], *, within_s: float = 20.0) -> Any:
    """The first true answer of ``holds``; fails the test where none comes in time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(0.02)
    pytest.fail(f"it did not come true within {within_s} s")
