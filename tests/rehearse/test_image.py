"""The stand-in's image: made without registry or network, and it runs under a real Docker Engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import time
import uuid
from typing import TYPE_CHECKING

import pytest

from launchpad.rehearse.image import changes, ensure_image, image_tag, sources, write_rootfs
from launchpad.runtime.docker import connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "rootfs.tar"
    write_rootfs(path)
    return path


def names(path: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(path) as tar:
        return {entry.name: entry for entry in tar}


def test_the_tag_is_the_same_twice_and_changes_with_the_recipe() -> None:
    assert image_tag() == image_tag() != image_tag(b"another recipe")


@pytest.mark.parametrize("name", sorted(sources()))
def test_the_tag_changes_with_every_file_of_the_stand_in(name: str) -> None:
    files = sources()
    assert image_tag(carried=files) == image_tag() != image_tag(carried={**files, name: files[name] + b"\n"})


def test_the_image_is_below_60_megabytes(rootfs: Path) -> None:
    assert rootfs.stat().st_size < 60_000_000


@pytest.mark.parametrize(
    "name",
    [
        "opt/rehearsal/engine.py",
        "opt/rehearsal/launchpad/rehearse/faults.py",
        "opt/rehearsal/launchpad/rehearse/standin/life.py",
        "etc/passwd",
        "tmp",
        "usr/bin/python3",
    ],
)
def test_the_image_holds_what_a_container_needs(name: str, rootfs: Path) -> None:
    assert name in names(rootfs)


@pytest.mark.parametrize("part", ["/test/", "/idlelib/", "/tkinter/", "/ensurepip/", "/site-packages/", "/config-"])
def test_the_image_holds_nothing_it_does_not_need(part: str, rootfs: Path) -> None:
    assert [name for name in names(rootfs) if part in f"/{name}/"] == []


def test_nothing_in_the_image_belongs_to_a_user_or_points_outside(rootfs: Path) -> None:
    entries = names(rootfs).values()
    assert {(entry.uid, entry.gid) for entry in entries} == {(0, 0)}
    assert [entry.linkname for entry in entries if entry.issym() and entry.linkname.startswith(("/", ".."))] == []


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def image(rootfs: Path) -> Iterator[str]:
    assert shutil.which("docker"), "these tests need the docker command and an Engine that answers (see the README)"
    tag = f"launchpad-test/rehearsal:{uuid.uuid4().hex[:12]}"
    docker("import", *(word for change in changes() for word in ("--change", change)), str(rootfs), tag)
    yield tag
    docker("rmi", "--force", tag)


@pytest.fixture
def container(image: str) -> Iterator[str]:
    name = f"launchpad-test-rehearsal-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    yield name
    subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True, timeout=60, check=False)


TIGHT = ("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only", "--network", "none")


@pytest.mark.docker
def test_a_tightly_held_container_runs_as_any_user_and_ends_as_told(image: str, container: str) -> None:
    told = json.dumps({"engine": "vllm", "load_seconds": 0.2, "faults": ["exit:42@ready"]})
    words = ("run", "--name", container, "--detach", *TIGHT, "--user", "4711:4711", "-e", f"LAUNCHPAD_REHEARSAL={told}")
    docker(*words, image, "/models/v4", "--served-model-name", "v4")
    assert docker("wait", container) == "42", docker("logs", container)


@pytest.mark.docker
def test_a_host_oom_is_a_real_kill_by_the_containers_limit(image: str, container: str) -> None:
    told = json.dumps({"engine": "vllm", "load_seconds": 0.2, "faults": ["host-oom@weights"]})
    words = ("run", "--name", container, "--detach", *TIGHT, "--memory", "128m", "-e", f"LAUNCHPAD_REHEARSAL={told}")
    docker(*words, image, "/models/v4")
    assert docker("wait", container) == "137", docker("logs", container)
    assert docker("inspect", "--format", "{{.State.OOMKilled}}", container) == "true"


@pytest.mark.docker
def test_the_image_is_made_where_it_is_missing_and_only_there() -> None:
    runtime = connect(os.environ)
    try:
        first = ensure_image(runtime)
        second = ensure_image(runtime)
    finally:
        runtime.close()
    assert (first.tags, first.id) == ((image_tag(),), second.id)


@pytest.mark.docker
def test_docker_stop_is_a_clean_end_once_it_serves(image: str, container: str) -> None:
    told = json.dumps({"engine": "sglang", "load_seconds": 0.2})
    words = ("run", "--name", container, "--detach", *TIGHT, "-e", f"LAUNCHPAD_REHEARSAL={told}")
    docker(*words, image, "sglang", "serve", "--model-path", "/models/v4")
    end = time.monotonic() + 20
    while "ready to roll!" not in _logs(container):
        assert time.monotonic() < end, _logs(container)
        time.sleep(0.05)
    docker("stop", "--time", "20", container)
    assert docker("wait", container) == "0"


def _logs(container: str) -> str:
    done = subprocess.run(["docker", "logs", container], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr
