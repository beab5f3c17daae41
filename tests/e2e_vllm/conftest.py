"""These tests build a 2.7 GB image and start vLLM many times: they run only where the command line names them (make e2e-vllm)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.e2e_vllm.models import IMAGE, PROFILE
from tests.support.by_name import leave_out_unless_named
from tests.support.engine import docker_engine
from tests.support.report import tell_what_was_seen
from tests.support.served import UP_SECONDS, own_rig

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    import docker
    from tests.e2e.harness import Rig

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    leave_out_unless_named(HERE, config, items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure tells what launchpad and Docker saw."""
    report = yield
    tell_what_was_seen(item, report)
    return report


@pytest.fixture(scope="session")
def client() -> Iterator[docker.DockerClient]:
    """The Docker Engine, asked directly."""
    with docker_engine("e2e-vllm") as made:
        yield made


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, client: docker.DockerClient) -> Iterator[Rig]:
    """A launchpad of the file's own."""
    with own_rig(tmp_path_factory.mktemp("vllm"), client) as made:
        yield made


@pytest.fixture(scope="module")
def image(rig: Rig, client: docker.DockerClient) -> str:
    """The engine's image; built where no test has brought it up yet."""
    if not client.images.list(name=IMAGE):
        rig.run("build", PROFILE, timeout=UP_SECONDS).ends(0)
    return IMAGE
