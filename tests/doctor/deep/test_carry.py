"""Say, ask, do, judge: the order of things, and what is not tried after a failure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from launchpad.doctor.deep.carry import Means, carry_out
from launchpad.doctor.deep.plan import (
    ALL,
    ALL_REDUCE,
    DISK,
    GPU_CONTAINER,
    GPU_MEMORY,
    PCIE,
    POWER,
    chosen,
    nccl_env,
    plan,
)
from launchpad.doctor.deep.scripts import MARK
from launchpad.errors import ContainerError, LaunchpadError
from tests.doctor.deep.subjects import BEGAN, ToldEyes, check, every_check, gpu, reduced, sample, subject, with_weights
from tests.fakes.clock import ManualClock
from tests.fakes.runtime import FakeRuntime, fake_image

if TYPE_CHECKING:
    from pathlib import Path

    from launchpad.doctor.deep.plan import ActiveCheck, Subject

IMAGE = fake_image("img:1")
RATE = {"to_gpu": 55e9, "to_host": 55e9}
GOOD: dict[str, list[dict[str, Any]]] = {
    "see": [{"done": True, "via": "torch", "gpus": ["NVIDIA H200", "NVIDIA H200"]}],
    "device-memory": [{"done": True, "bytes_per_s": [4.25e12, 4.25e12]}],
    "pcie": [{"done": True, "gpus": [RATE, RATE]}],
    "all-reduce": [reduced(267e9), {"done": True}],
    "full-tilt": [{"done": True, "began": BEGAN.timestamp(), "ended": BEGAN.timestamp() + 9, "flop_per_s": 6e14}],
}


class Playing(FakeRuntime):
    """Answers each work as ``plays`` has it, after a look; a work that is not there hangs."""

    def __init__(self, plays: dict[str, list[dict[str, Any]]]) -> None:
        super().__init__(images=(IMAGE,))
        self.plays = plays
        self.works: list[str] = []

    def start(self, container_id: str) -> None:
        super().start(container_id)
        settings = self.spec_of(container_id).command[-1]
        work = json.loads(settings)["work"] if settings.startswith("{") else settings
        self.works.append(work)
        for line in self.plays.get(work, ()):
            self.write_log(container_id, MARK + json.dumps(line))

    def inspect(self, container_id: str) -> Any:
        found = super().inspect(container_id)
        if found is not None and found.running:
            settings = self.spec_of(found.id).command[-1]
            work = json.loads(settings)["work"] if settings.startswith("{") else settings
            if work in self.plays:
                # seen running once, then over
                self.looks = getattr(self, "looks", 0) + 1
                if self.looks % 2 == 0:
                    self.exit(found.id, 0)
                    return super().inspect(container_id)
        return found


@dataclass
class Person:
    """Reads what is said, and answers no to the ids of ``refuses``."""

    refuses: tuple[str, ...] = ()
    heard: list[str] = field(default_factory=list)

    def agree(self, check: ActiveCheck) -> bool:
        self.heard.append(f"asked {check.id}")
        return check.id not in self.refuses


def of(**changes: Any) -> Subject:
    found = subject(**changes)
    return found if found.image is None else replace(found, image=replace(found.image, id=IMAGE.id))


def carry(
    runtime: FakeRuntime | None, person: Person, target: Subject, checks: tuple[ActiveCheck, ...], eyes: ToldEyes
) -> tuple[dict[str, str], tuple[str, ...]]:
    means = Means(runtime, eyes, ManualClock(), person.heard.append, person.agree)
    found, left_out = carry_out(checks, target, means)
    return {item.id: item.severity for item in found}, left_out


SEEN = ToldEyes(
    tuple(sample(index, 4, power_w=690.0) for index in (0, 1)),
    tuple(gpu(index, pcie_gen_now=5, pcie_width_now=16) for index in (0, 1)),
)


def test_all_checks_of_a_good_pair_inform(tmp_path: Path) -> None:
    target = replace(with_weights(tmp_path, (5000, 70000)), image=of().image)
    found, left_out = carry(Playing(GOOD), Person(), target, every_check(target), SEEN)

    assert (found, left_out) == (dict.fromkeys(ALL, "informs"), ())


def test_each_check_is_said_before_it_is_asked_and_before_anything_is_created() -> None:
    person, runtime, target = Person(refuses=(GPU_CONTAINER,)), Playing(GOOD), of()
    checks = (check(GPU_CONTAINER, target),)
    found, left_out = carry(runtime, person, target, checks, SEEN)

    assert person.heard == [checks[0].says, f"asked {GPU_CONTAINER}"]
    assert (found, left_out) == ({}, (f"{GPU_CONTAINER}: not run, as you said",))
    assert runtime.calls == []


def test_what_is_said_tells_what_it_does_and_how_long_it_takes() -> None:
    assert check(POWER, power_s=60).says == (
        "deep.power: load GPUs 0, 1 fully, up to 1400 W together by their limits, and read their power; no limit is changed; "
        "about 70 s, ended after 150 s whatever happens"
    )


def test_without_a_gpu_container_no_figure_is_taken() -> None:
    runtime, target = Playing(GOOD), of()
    runtime.fail_next("start", ContainerError("cannot start container x: no NVIDIA Container Toolkit"))
    found, left_out = carry(runtime, Person(), target, every_check(target), SEEN)

    assert found == {GPU_CONTAINER: "blocks"}
    assert left_out == tuple(
        f"{name}: not run, because {GPU_CONTAINER} failed" for name in (GPU_MEMORY, PCIE, ALL_REDUCE, POWER)
    )


def test_after_an_all_reduce_that_hung_the_cards_are_not_loaded() -> None:
    runtime, target = Playing({work: said for work, said in GOOD.items() if work != "all-reduce"}), of()
    found, left_out = carry(runtime, Person(), target, every_check(target), SEEN)

    assert (found[ALL_REDUCE], left_out) == ("blocks", (f"{POWER}: not run, because {ALL_REDUCE} failed",))
    assert runtime.works == ["see", "device-memory", "pcie", "all-reduce"]


def test_an_image_without_python_is_asked_for_its_gpus_with_nvidia_smi() -> None:
    runtime, target = Playing({"-L": []}), of()
    runtime.fail_next("start", ContainerError("cannot start container x: the image has no program python3"))
    carry(runtime, Person(), target, (check(GPU_CONTAINER, target),), SEEN)

    assert runtime.works == ["-L"]


def test_a_container_that_stays_behind_is_a_finding_with_the_line_that_removes_it() -> None:
    runtime, target = Playing(GOOD), of()
    runtime.fail_next("remove", ContainerError("cannot remove container x: did not receive an exit event"))
    means = Means(runtime, SEEN, ManualClock(), lambda _: None, lambda _: True)
    found, _ = carry_out((check(GPU_CONTAINER, target),), target, means)
    left = next(item for item in found if item.id == f"{GPU_CONTAINER}.left-behind")

    assert (left.severity, (left.hint or "").startswith("docker rm -f launchpad-deep-gpu-container-")) == (
        "warns",
        True,
    )


def test_reading_a_disk_needs_no_runtime(tmp_path: Path) -> None:
    target = with_weights(tmp_path, (100_000,), image=None)
    found, _ = carry(None, Person(), target, (check(DISK, target),), ToldEyes())

    assert found == {DISK: "informs"}


@pytest.mark.parametrize(
    ("changes", "left_out"),
    [
        ({"image": None}, (GPU_CONTAINER, GPU_MEMORY, PCIE, ALL_REDUCE, POWER)),
        ({"gpus": ()}, (GPU_CONTAINER, GPU_MEMORY, PCIE, ALL_REDUCE, POWER)),
        ({"gpus": (gpu(0),)}, (ALL_REDUCE,)),
        ({}, ()),
    ],
)
def test_what_cannot_be_run_is_named_with_its_reason(changes: dict[str, Any], left_out: tuple[str, ...]) -> None:
    _, found = plan(of(**changes), ALL, 60.0)

    assert [line.split(":")[0] for line in found] == [DISK, *left_out]


def test_a_check_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(LaunchpadError, match=r"cannot run deep\.magic: there is no such active check"):
        chosen(("magic",))


def test_names_are_taken_with_and_without_their_first_part() -> None:
    assert chosen(("power", "deep.disk-read")) == (DISK, POWER)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 601.0, float("nan"), float("inf")])
def test_a_load_of_no_sensible_length_is_refused(seconds: float) -> None:
    with pytest.raises(LaunchpadError, match="cannot load the GPUs for"):
        plan(of(), (POWER,), seconds)


def test_only_what_changes_nccl_is_passed_on_and_the_person_has_the_last_word() -> None:
    profile = {"NCCL_P2P_DISABLE": "0", "HF_TOKEN": "secret", "NCCL_NVLS_ENABLE": "0"}

    assert nccl_env(profile, {"NCCL_P2P_DISABLE": "1", "PATH": "/bin"}) == (
        ("NCCL_NVLS_ENABLE", "0"),
        ("NCCL_P2P_DISABLE", "1"),
    )


def test_a_network_and_files_that_the_check_has_not_are_not_passed_on() -> None:
    assert nccl_env({"NCCL_SOCKET_IFNAME": "eth0", "NCCL_GRAPH_FILE": "/mnt/graph.xml", "NCCL_ALGO": "Ring"}) == (
        ("NCCL_ALGO", "Ring"),
    )
