"""``doctor --deep`` before anything runs: who is asked, what is refused, and in whose name."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from launchpad.cli.deep import Wanted, deepen
from launchpad.cli.world import World
from launchpad.errors import BusyError, ImageError, LaunchpadError
from launchpad.rig.facts import ForeignProcess, RigFacts
from launchpad.runtime.base import LABEL_DEPLOYMENT, LABEL_GPUS, LABEL_OWNER, ContainerSpec
from launchpad.store.lock import held
from tests.doctor.deep.subjects import gpu
from tests.fakes.runtime import FakeRuntime

if TYPE_CHECKING:
    from pathlib import Path

    from launchpad.runtime.base import Container

FACTS = RigFacts((gpu(0), gpu(1)))
YES = Wanted(yes=True, only=("gpu-container",), seconds=60.0, image="img:1")


def world(folder: Path, *images: str) -> tuple[World, FakeRuntime]:
    """A launchpad with a state directory of its own and a Docker Engine in memory."""
    runtime = FakeRuntime(images=images)
    made = World({"LAUNCHPAD_STATE_DIR": str(folder / "state")})
    made.__dict__["runtime"] = runtime  # where a cached property keeps its value
    return made, runtime


def serve(runtime: FakeRuntime, deployment: str, uuid: str) -> None:
    """A deployment's container runs on that GPU."""
    labels = ((LABEL_DEPLOYMENT, deployment), (LABEL_GPUS, uuid), (LABEL_OWNER, "/other"))
    made = runtime.create(ContainerSpec("server", deployment, "img:1", None, (), labels=labels), {})
    runtime.start(made.id)


def test_without_a_terminal_it_must_be_told_yes(tmp_path: Path) -> None:
    here, runtime = world(tmp_path, "img:1")

    with pytest.raises(LaunchpadError, match="there is no terminal") as caught:
        deepen(here, FACTS, None, replace(YES, yes=False))
    assert (caught.value.hint, runtime.asked("create")) == ("add --yes to run them unasked", [])


def test_a_gpu_of_a_deployment_that_is_up_is_refused_by_its_name(tmp_path: Path) -> None:
    here, runtime = world(tmp_path, "img:1")
    serve(runtime, "flash", "GPU-1")

    with pytest.raises(LaunchpadError, match="cannot load GPU 1: deployment flash holds it") as caught:
        deepen(here, FACTS, None, YES)
    assert (caught.value.hint or "").startswith("launchpad down flash")
    assert [call[1] for call in runtime.asked("create")] == ["flash"]


def test_a_gpu_that_somebody_computes_on_is_refused_with_the_process(tmp_path: Path) -> None:
    here, _ = world(tmp_path, "img:1")
    busy = RigFacts((gpu(0), gpu(1, foreign=(ForeignProcess(77, "train.py"),))))

    with pytest.raises(LaunchpadError, match=r"cannot load GPU 1: process 77 \(train\.py\) computes on it"):
        deepen(here, busy, None, YES)


def test_a_recorded_rig_is_refused(tmp_path: Path) -> None:
    here, _ = world(tmp_path, "img:1")

    with pytest.raises(LaunchpadError, match="recorded rig pair"):
        deepen(here, replace(FACTS, recorded="pair"), None, YES)


def test_an_image_that_is_not_here_is_refused_with_the_line_that_fetches_it(tmp_path: Path) -> None:
    here, _ = world(tmp_path)

    with pytest.raises(ImageError, match="img:1: it is not on this Docker Engine") as caught:
        deepen(here, FACTS, None, YES)
    assert caught.value.hint == "docker pull img:1"


def test_without_profile_and_image_there_is_nothing_to_run(tmp_path: Path) -> None:
    here, _ = world(tmp_path)

    with pytest.raises(LaunchpadError, match="cannot run any active check") as caught:
        deepen(here, FACTS, None, replace(YES, image=None))
    assert "--image" in (caught.value.hint or "")


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    here, _ = world(tmp_path, "img:1")
    here.store.root.mkdir(parents=True)

    with held(here.store.root / "deep.lock", "test"), pytest.raises(BusyError, match="cannot run active checks"):
        deepen(here, FACTS, None, YES)


class Terminated(FakeRuntime):
    """Its launchpad is asked to end, by SIGTERM, while the container runs."""

    def inspect(self, container_id: str) -> Container | None:
        found = super().inspect(container_id)
        if found is not None and found.running:
            signal.raise_signal(signal.SIGTERM)
        return found


def test_a_launchpad_that_is_asked_to_end_takes_its_container_along(tmp_path: Path) -> None:
    runtime = Terminated(images=("img:1",))
    here = World({"LAUNCHPAD_STATE_DIR": str(tmp_path / "state")})
    here.__dict__["runtime"] = runtime
    before = signal.getsignal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        deepen(here, FACTS, None, YES)
    (made,) = runtime.asked("create")
    assert runtime.asked("remove") == [("remove", made[1])]
    assert signal.getsignal(signal.SIGTERM) == before
