"""The same on a real Docker Engine, without GPUs: an image whose python3 is a shell script that says or hangs."""

from __future__ import annotations

import io
import os
import tarfile
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from launchpad.clock import SystemClock
from launchpad.doctor.deep.plan import GPU_CONTAINER, ImageUnderTest, container_spec
from launchpad.doctor.deep.run import run_container
from launchpad.doctor.deep.scripts import MARK
from launchpad.runtime.docker import connect
from tests.doctor.deep.subjects import check, subject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launchpad.runtime.base import ContainerSpec, Image, Runtime

pytestmark = pytest.mark.docker

BUSYBOX = Path("/bin/busybox")
NAME = "launchpad-deep-test/shell:1"
#: It plays the part of python3: what it is given to run is in $2, and how it behaves in $PLAY.
PYTHON3 = f"""#!/bin/sh
case "$PLAY" in
  answers) echo noise; echo '{MARK}{{"done": true, "words": '$#'}}' ;;
  hangs) echo '{MARK}{{"stage": "started"}}'; trap '' TERM INT; while :; do sleep 1; done ;;
  forks) (trap '' TERM; sleep 1000) & exec sleep 1000 ;;
  peeks) ls /sys/class/net >/tmp/nets; grep -c . /tmp/nets; grep CapEff /proc/self/status ;;
esac
"""


@pytest.fixture(scope="module")
def runtime() -> Iterator[Runtime]:
    found = connect(os.environ)
    yield found
    found.close()


@pytest.fixture(scope="module")
def image(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    if not BUSYBOX.exists():
        pytest.fail("/bin/busybox is missing; install it: apt-get install -y busybox-static")
    archive = tmp_path_factory.mktemp("image") / "shell.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(BUSYBOX, "bin/busybox")
        for applet in ("sh", "sleep", "ls", "grep"):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for folder in ("tmp", "proc", "sys", "dev", "etc"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o777
            tar.addfile(entry)
        python = tarfile.TarInfo("bin/python3")
        python.mode, python.size = 0o755, len(PYTHON3)
        tar.addfile(python, io.BytesIO(PYTHON3.encode()))
    yield runtime.import_image(archive, NAME, changes=("ENV PATH=/bin",))
    from docker import from_env

    with closing(from_env()) as client:
        client.images.remove(NAME, force=True)


def spec(image: Image, play: str) -> ContainerSpec:
    """The very container of an active check, but without GPUs, and of an owner of its own."""
    of = subject(image=ImageUnderTest(NAME, image.id), owner=f"/deep-test/{os.getpid()}")
    made = container_spec(check(GPU_CONTAINER, of), of)
    return replace(made, gpus=None, env=(("PLAY", play),))


def test_a_script_that_hangs_is_killed_at_the_deadline_and_nothing_stays(runtime: Runtime, image: Image) -> None:
    began = time.monotonic()
    found = run_container(runtime, spec(image, "hangs"), 2.0, SystemClock())

    assert (found.how, found.lines, found.left_behind) == ("hung", ({"stage": "started"},), None)
    assert 2.0 <= time.monotonic() - began < 15.0
    assert runtime.inspect(spec(image, "hangs").name) is None


def test_processes_that_it_forked_are_gone_with_it(runtime: Runtime, image: Image) -> None:
    seen: list[int] = []
    name = spec(image, "forks").name

    def look() -> None:
        if (container := runtime.inspect(name)) is not None:
            seen.extend(runtime.pids(container.id))

    run_container(runtime, spec(image, "forks"), 1.0, SystemClock(), look)

    assert len(set(seen)) >= 2
    assert not [pid for pid in seen if Path(f"/proc/{pid}").exists()]


def test_an_answer_is_read_and_the_whole_script_arrives_as_one_argument(runtime: Runtime, image: Image) -> None:
    found = run_container(runtime, spec(image, "answers"), 20.0, SystemClock())

    assert (found.how, found.answer, found.noise) == ("answered", {"done": True, "words": 3}, ("noise",))
    assert runtime.inspect(spec(image, "answers").name) is None


def test_it_has_no_capability_and_no_network_but_loopback(runtime: Runtime, image: Image) -> None:
    found = run_container(runtime, spec(image, "peeks"), 20.0, SystemClock())

    assert found.noise[-1].split() == ["CapEff:", "0000000000000000"]
    assert found.noise[0] == "1"


def test_what_was_left_by_a_killed_launchpad_is_swept(runtime: Runtime, image: Image) -> None:
    left = runtime.create(spec(image, "hangs"), {})
    runtime.start(left.id)
    found = run_container(runtime, spec(image, "answers"), 20.0, SystemClock())

    assert (found.how, runtime.inspect(left.id)) == ("answered", None)
