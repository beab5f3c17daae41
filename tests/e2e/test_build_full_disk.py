"""``launchpad build`` on a Docker Engine whose disk fills up: 80 MB for images, layers and caches, and both builders."""

from __future__ import annotations

import os
import tarfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import docker
import pytest

from launchpad.runtime.docker import connect
from tests.e2e.faults.engine import private_engine
from tests.e2e.harness import Rig

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOM = "80m"
BUSYBOX = Path("/bin/busybox")
PROFILE = """format = 1
summary = "an image that does not fit"
engine = "generic"
command = ["true"]
image = { reference = "launchpad-e2e/large:1", build = { template = "large" } }
model = { in_image = "/", served_name = "none" }
publish = { port = 8000 }
probes.readiness = { path = "/health" }
"""
#: What fills the disk -> the line of the Dockerfile.
FILLS = {
    "a step that writes more than there is": "RUN busybox dd if=/dev/zero of=/fill bs=1M count=200",
    "a file that does not fit": "COPY large /large",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A launchpad on an engine with little room, which holds a base image."""
    root = tmp_path_factory.mktemp("small")
    with private_engine(room=ROOM) as engine, closing(engine.client()) as client:
        environ = {**os.environ, "DOCKER_HOST": engine.host}
        _base(environ, root)
        rig = Rig(root / "rig", client, environ)
        (rig.folder / "large.toml").write_text(PROFILE)
        yield rig


def _base(environ: dict[str, str], root: Path) -> None:
    with tarfile.open(root / "base.tar", "w") as archive:
        archive.add(BUSYBOX, "bin/busybox")
        link = tarfile.TarInfo("bin/sh")
        link.type, link.linkname = tarfile.SYMTYPE, "busybox"
        archive.addfile(link)
    with closing(connect(environ)) as runtime:
        runtime.import_image(root / "base.tar", "launchpad-e2e/base:1", changes=("ENV PATH=/bin",))


@pytest.mark.parametrize("builder", [(), ("--classic",)], ids=["buildkit", "classic"])
@pytest.mark.parametrize("what", FILLS)
def test_a_disk_that_fills_up_is_told_as_that(small: Rig, what: str, builder: tuple[str, ...]) -> None:
    template = small.folder.parent / "templates" / "large"
    template.mkdir(parents=True, exist_ok=True)
    (template / "large").write_bytes(os.urandom(2**20) * 100)
    (template / "Dockerfile").write_text(f"FROM launchpad-e2e/base:1\n{FILLS[what]}\n")

    ran = small.run("build", "large", *builder)

    ran.ends(1, "cannot build launchpad-e2e/large:1: the Docker Engine's disk is full", "docker system df")
    with pytest.raises(docker.errors.ImageNotFound):
        small.client.images.get("launchpad-e2e/large:1")
