"""Every test here drives the ``launchpad`` command against a real Docker Engine; one that does not answer fails them all."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from launchpad.rehearse.image import ensure_image
from launchpad.runtime.docker import connect
from tests.e2e.harness import NewRig, Rig
from tests.support.engine import docker_engine
from tests.support.report import tell_what_was_seen

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    import docker

HERE = Path(__file__).parent


def pytest_sessionstart() -> None:
    """What a shell started in the background is born deaf to Ctrl-C, and its children with it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure tells what launchpad and Docker saw."""
    report = yield
    tell_what_was_seen(item, report)
    return report


@pytest.fixture(scope="session")
def client() -> Iterator[docker.DockerClient]:
    """The Docker Engine, asked directly."""
    with docker_engine("e2e") as made:
        yield made


@pytest.fixture(scope="session")
def image(client: docker.DockerClient) -> str:
    """The rehearsal's image, made once, by its tag."""
    runtime = connect(os.environ)
    try:
        return ensure_image(runtime).tags[0]
    finally:
        runtime.close()


@pytest.fixture
def rig(tmp_path: Path, client: docker.DockerClient, image: str) -> Iterator[Rig]:
    """A launchpad of the test's own; nothing of it is left afterwards, or the test fails."""
    made = Rig(tmp_path / "rig", client)
    yield made
    assert made.close() == []


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, client: docker.DockerClient, image: str) -> Iterator[NewRig]:
    """Makes launchpads for scenes of which several tests of one module look at the outcome."""
    made: list[Rig] = []

    def new() -> Rig:
        made.append(Rig(tmp_path_factory.mktemp("shared") / "rig", client))
        return made[-1]

    yield new
    assert [left for rig in made for left in rig.close()] == []
