"""A NIM container's surface as launchpad's own questions meet it: ready is what ``/v1/health/ready`` and a completion say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from launchpad.engines import engine
from launchpad.health.http import HttpProber
from launchpad.supervise.watch import readiness
from tests.deploy.specs import SHIPPED, shipped
from tests.support.hosted import HostedEndpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launchpad.health.probe import Answer

NAME = "v4-flash-nim"


@pytest.fixture
def nim() -> Iterator[HostedEndpoint]:
    with HostedEndpoint("nim", models=(shipped(NAME).model,)) as endpoint:
        yield endpoint


def ask(nim: HostedEndpoint) -> Answer:
    """The question of a start, as the supervisor asks it of that profile."""
    spec = shipped(NAME)
    with HttpProber(nim.url) as prober:
        return readiness(engine("nim").health(SHIPPED.load(NAME).profile), spec.completion, spec.model)(prober)


def test_a_nim_that_loads_is_alive_and_not_ready_and_is_asked_for_no_completion(nim: HostedEndpoint) -> None:
    nim.be("loading")
    answer = ask(nim)

    assert (answer.ok, answer.status) == (False, 503)
    assert answer.detail.startswith("GET /v1/health/ready: 503: ")
    assert nim.completions_asked() == []


def test_a_nim_that_has_loaded_is_ready_after_one_real_completion(nim: HostedEndpoint) -> None:
    nim.be("loading", times=1)
    before, after = ask(nim), ask(nim)

    assert (before.ok, after.ok) == (False, True)
    assert after.detail.startswith("a chat came back in ")
    assert nim.billed.completions == 1
