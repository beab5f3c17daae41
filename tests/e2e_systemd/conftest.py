"""Every test here needs a real systemd, in a container on a real Docker Engine; what is missing fails them all.

They reboot a machine and wait for watchdogs: they run only where the command line names them (make e2e-systemd).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from launchpad.rehearse.image import ensure_image
from launchpad.runtime.docker import connect
from tests.e2e_systemd.machine import Machine
from tests.support.by_name import leave_out_unless_named
from tests.support.engine import docker_engine
from tests.support.report import tell_what_was_seen

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    import docker

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.systemd)
    leave_out_unless_named(HERE, config, items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure tells what systemd and launchpad saw."""
    report = yield
    tell_what_was_seen(item, report)
    return report


@pytest.fixture(scope="session")
def client() -> Iterator[docker.DockerClient]:
    """The Docker Engine, asked directly."""
    with docker_engine("e2e-systemd") as made:
        yield made


@pytest.fixture(scope="session")
def machine(client: docker.DockerClient) -> Iterator[Machine]:
    """A machine with the unit installed; nothing of it is left afterwards, or the tests fail."""
    runtime = connect(os.environ)
    try:
        ensure_image(runtime)
    finally:
        runtime.close()
    made = Machine(client)
    try:
        made.launchpad("systemd", "install").ends(0, "launchpad@.service written")
        yield made
    finally:
        left = made.close()
    assert left == []
