"""What is run, word for word: the ``docker run`` line of every shipped profile, as a text file.

After a change that is meant, look at the difference a failing test prints, and put the new line into ``golden/NAME.txt``:
``launchpad render NAME --rig RIG > tests/engines/golden/NAME.txt`` with no image pulled, on the rig that
``tests/profiles/own_rigs.py`` names. Of a hosted endpoint, of which nothing runs here, the text of its plan is recorded.
"""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

from launchpad.cli import render
from launchpad.deploy.export import docker_line, docker_run
from launchpad.deploy.observe import Observed
from launchpad.deploy.plan import make_plan
from tests.deploy.shells import words_of
from tests.deploy.specs import SHIPPED, shipped

GOLDEN = Path(__file__).parent / "golden"
#: Those that run something here, and those that are only asked: what stands recorded of them is their plan.
HOSTED = [name for name in SHIPPED.names() if SHIPPED.load(name).profile.engine == "hosted"]
RUN = [name for name in SHIPPED.names() if name not in HOSTED]


@pytest.mark.parametrize("name", RUN)
def test_a_shipped_profile_runs_exactly_the_recorded_line(name: str) -> None:
    made = "".join(docker_line(container) + "\n" for container in shipped(name).containers)
    recorded = (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")

    difference = difflib.unified_diff(
        recorded.splitlines(), made.splitlines(), f"golden/{name}.txt", "now", lineterm=""
    )
    assert made == recorded, "\n".join(difference)


@pytest.mark.parametrize("name", HOSTED)
def test_a_hosted_profile_asks_exactly_what_is_recorded(name: str) -> None:
    spec = shipped(name)
    made = render.plan(spec, make_plan(spec, Observed(), phase=None, before=None, warm=False), warm=False) + "\n"

    assert made == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def test_every_shipped_profile_has_its_recorded_line_and_every_line_its_profile() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == {*RUN, *HOSTED}


@pytest.mark.parametrize("name", RUN)
def test_a_shell_reads_the_line_as_the_words_it_stands_for(name: str) -> None:
    for container in shipped(name).containers:
        assert words_of(docker_line(container)) == docker_run(container)


@pytest.mark.parametrize("name", RUN)
def test_a_shipped_profile_is_one_container_and_with_dynamo_two(name: str) -> None:
    roles = [container.role for container in shipped(name).containers]

    assert roles == (["frontend", "worker"] if "dynamo" in name else ["server"])
