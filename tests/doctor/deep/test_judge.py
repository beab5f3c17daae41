"""Figures against findings: every threshold on both of its sides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from launchpad.doctor.deep import judge
from launchpad.doctor.deep.plan import ALL_REDUCE, DISK, GPU_CONTAINER, GPU_MEMORY, PCIE, POWER
from launchpad.errors import ContainerError
from tests.doctor.deep.subjects import BEGAN, check, gpu, outcome, reduced, sample, subject

if TYPE_CHECKING:
    from launchpad.doctor.finding import Finding

TB = 1e12
GB = 1e9


def said(findings: tuple[Finding, ...]) -> list[tuple[str, str, bool]]:
    return [(item.id, item.severity, item.hazard) for item in findings]


def memory(*rates: float, name: str = "NVIDIA H200") -> tuple[Finding, ...]:
    of = subject(gpus=tuple(gpu(index, name=name) for index in range(len(rates))))
    return judge.judge_gpu_memory(check(GPU_MEMORY, of), of, outcome({"done": True, "bytes_per_s": list(rates)}))


@pytest.mark.parametrize(
    ("rates", "name", "severity"),
    [
        ((4.25 * TB, 4.25 * TB), "NVIDIA H200", "informs"),
        ((3.59 * TB, 3.59 * TB), "NVIDIA H200", "warns"),
        ((3.61 * TB, 3.61 * TB), "NVIDIA H200", "informs"),
        ((1.5 * TB, 1.0 * TB), "A card of tomorrow", "warns"),
        ((1.5 * TB, 1.4 * TB), "A card of tomorrow", "informs"),
        ((1.25 * TB,), "NVIDIA RTX PRO 6000 Blackwell Server Edition", "informs"),
        ((1.25 * TB,), "NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "warns"),
    ],
)
def test_memory_is_judged_by_the_data_sheet_and_by_the_neighbours(
    rates: tuple[float, ...], name: str, severity: str
) -> None:
    assert [item.severity for item in memory(*rates, name=name)] == [severity]


def test_memory_evidence_has_every_card_with_its_unit() -> None:
    assert memory(4.255 * TB, 4.252 * TB)[0].evidence == (
        "GPU 0: 4,255 GB/s read + written; GPU 1: 4,252 GB/s read + written"
    )


def pcie(to_gpu: float, to_host: float, link: tuple[int | None, int | None], **card: Any) -> tuple[Finding, ...]:
    of = subject(gpus=(gpu(0, **card),))
    answer = outcome({"done": True, "gpus": [{"to_gpu": to_gpu, "to_host": to_host}]})
    return judge.judge_pcie(check(PCIE, of), of, answer, {"GPU-0": link})


@pytest.mark.parametrize(
    ("to_gpu", "to_host", "link", "severity", "says"),
    [
        (55 * GB, 55 * GB, (5, 16), "informs", "55.0 GB/s at least"),
        (55 * GB, 37 * GB, (5, 16), "warns", "59% of its link's 63.0 GB/s"),
        (26 * GB, 26 * GB, (4, 16), "warns", "gen 4 x16 under load of gen 5 x16"),
        (27 * GB, 27 * GB, (5, 8), "warns", "gen 5 x8 under load of gen 5 x16"),
        (55 * GB, 55 * GB, (None, None), "informs", "55.0 GB/s"),
    ],
)
def test_pcie_is_judged_by_the_link_under_load(
    to_gpu: float, to_host: float, link: tuple[int | None, int | None], severity: str, says: str
) -> None:
    (found,) = pcie(to_gpu, to_host, link)

    assert (found.severity, says in found.message) == (severity, True)


def test_a_link_of_an_unknown_generation_is_not_judged_by_its_rate() -> None:
    assert said(pcie(1 * GB, 1 * GB, (None, None), pcie_gen_max=None)) == [(PCIE, "informs", False)]


def all_reduce(bus: float, **changes: Any) -> tuple[Finding, ...]:
    of = subject(**changes)
    return judge.judge_all_reduce(check(ALL_REDUCE, of), of, outcome(reduced(bus), {"done": True}))


@pytest.mark.parametrize(
    ("bus", "changes", "severity"),
    [
        (267 * GB, {}, "informs"),
        (62 * GB, {}, "warns"),
        (16 * GB, {"links": ()}, "informs"),
        (15 * GB, {"links": ()}, "warns"),
        (27 * GB, {"env": (("NCCL_P2P_DISABLE", "1"),)}, "informs"),
        (1 * GB, {"links": (), "gpus": (gpu(0, pcie_gen_max=None), gpu(1))}, "informs"),
    ],
)
def test_an_all_reduce_is_judged_by_what_joins_the_cards(bus: float, changes: dict[str, Any], severity: str) -> None:
    assert [item.severity for item in all_reduce(bus, **changes)] == [severity]


def test_a_wrong_sum_blocks_whatever_the_speed() -> None:
    of = subject()
    wrong = outcome({"wrong": 4096, "rank": 1}, reduced(267 * GB), {"done": True})
    (found,) = judge.judge_all_reduce(check(ALL_REDUCE), of, wrong)

    assert (found.severity, found.hazard, "sums wrongly at 4.0 KiB" in found.message) == ("blocks", True, True)


def test_a_hang_blocks_and_says_how_far_it_came_and_what_to_try() -> None:
    hung = outcome({"stage": "joined"}, reduced(2 * GB, 2**20), how="hung")
    (found,) = judge.judge_all_reduce(check(ALL_REDUCE), subject(), hung, (sample(0, 0, utilization_percent=0),))

    assert (found.severity, found.hazard) == ("blocks", True)
    assert found.evidence == "it hung after 1.0 MiB: 524 µs, 2.00 GB/s; busy afterwards by NVML: GPU 0 0 %"
    assert "NCCL_P2P_DISABLE=1" in (found.hint or "")
    assert "IOMMU" in (found.hint or "")


@pytest.mark.parametrize(
    ("lines", "where"), [((), "before the ranks found each other"), (({"stage": "joined"},), "at the first size")]
)
def test_a_hang_before_any_size_says_where(lines: tuple[dict[str, Any], ...], where: str) -> None:
    (found,) = judge.judge_all_reduce(check(ALL_REDUCE), subject(), outcome(*lines, how="hung"))

    assert found.evidence == f"it hung {where}; busy afterwards by NVML: unknown"


def test_a_card_that_stays_busy_with_nobody_on_it_is_named_after_a_hang() -> None:
    after = (
        sample(0, 0, utilization_percent=100, processes=((7, None),)),
        sample(1, 0, utilization_percent=100, processes=()),
    )
    found = judge.judge_all_reduce(check(ALL_REDUCE), subject(), outcome(how="hung"), after)

    assert [item.id for item in found] == [ALL_REDUCE, f"{ALL_REDUCE}.wedged"]
    assert found[1].message.startswith("GPU 1 stays at 100 %")


def test_processes_that_are_unknown_accuse_no_card() -> None:
    assert judge.stuck_gpus((sample(0, 0, utilization_percent=100, processes=None),)) == ()


@pytest.mark.parametrize(
    ("line", "severity"),
    [
        ({"error": "No module named 'torch'", "kind": "ModuleNotFoundError", "rank": 0}, "warns"),
        ({"error": "NCCL error: unhandled cuda error", "kind": "DistBackendError", "rank": 1}, "blocks"),
    ],
)
def test_an_all_reduce_that_fails_blocks_unless_the_image_just_has_no_torch(
    line: dict[str, Any], severity: str
) -> None:
    (found,) = judge.judge_all_reduce(check(ALL_REDUCE), subject(), outcome(line))

    assert (found.severity, str(line["error"]) in found.message) == (severity, True)


def container(**changes: Any) -> tuple[Finding, ...]:
    lines = changes.pop("lines", ())
    return judge.judge_gpu_container(check(GPU_CONTAINER), subject(), outcome(*lines, **changes))


def test_a_gpu_container_that_computes_on_all_is_good() -> None:
    told = {"done": True, "via": "torch", "gpus": ["NVIDIA H200", "NVIDIA H200"]}

    assert said(container(lines=(told,))) == [(GPU_CONTAINER, "informs", False)]


def test_a_toolkit_that_refuses_blocks_with_its_own_words_and_hint() -> None:
    refusal = ContainerError("cannot start container x: no NVIDIA Container Toolkit", hint="sudo apt-get install it")
    (found,) = container(how="refused", refusal=refusal)

    assert (found.severity, found.hint) == ("blocks", "sudo apt-get install it")
    assert found.message == f"no GPU container starts: {refusal.message}"
    assert found.source


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"lines": ({"done": True, "gpus": ["NVIDIA H200"]},)}, "sees 1 of the 2 GPUs"),
        ({"how": "silent", "exit_code": 139}, "exit code 139"),
        ({"how": "hung"}, "hung and was killed"),
        ({"lines": ({"error": "no kernel image", "kind": "RuntimeError"},)}, "RuntimeError: no kernel image"),
        ({"lines": ({"stage": "started"},)}, "before it was done"),
    ],
)
def test_a_gpu_container_that_cannot_compute_on_all_blocks(changes: dict[str, Any], says: str) -> None:
    (found,) = container(**changes)

    assert (found.severity, found.hazard, says in found.message) == ("blocks", True, True)


@pytest.mark.parametrize(
    ("answer", "startup_s", "severity", "says"),
    [
        ({"bytes": 2**30, "seconds": 1.0, "direct": True, "error": None}, 1200.0, "informs", "takes 2m 40s"),
        (
            {"bytes": 2**30, "seconds": 10.0, "direct": True, "error": None},
            1200.0,
            "warns",
            "deadlines.startup (20m 00s)",
        ),
        ({"bytes": 2**30, "seconds": 10.0, "direct": True, "error": None}, None, "informs", "takes 26m 40s"),
        ({"bytes": 0, "seconds": 20.0, "direct": True, "error": None}, None, "warns", "nothing"),
        (
            {"bytes": 1, "seconds": 1.0, "direct": True, "error": "x: Input/output error"},
            None,
            "blocks",
            "Input/output",
        ),
        (None, None, "blocks", "hangs"),
    ],
)
def test_a_disk_is_judged_by_how_long_the_whole_load_takes(
    answer: dict[str, Any] | None, startup_s: float | None, severity: str, says: str
) -> None:
    from pathlib import Path

    of = subject(model_path=Path("/m"), shards=(("a", 160 * 2**30),), startup_s=startup_s)
    (found,) = judge.judge_disk(check(DISK, of), of, answer)

    assert (found.severity, says in found.message) == (severity, True)


def power(watts: float, **changes: Any) -> tuple[Finding, ...]:
    of = subject(**changes)
    began = BEGAN.timestamp()
    told = outcome({"done": True, "began": began, "ended": began + 10, "flop_per_s": 6e14})
    samples = [sample(index, second, power_w=watts) for second in range(3, 10) for index in (0, 1)]
    early = [sample(index, 0, power_w=90.0) for index in (0, 1)]
    return judge.judge_power(check(POWER, of), of, told, (*early, *samples))


@pytest.mark.parametrize(
    ("watts", "changes", "expected"),
    [
        (690.0, {}, [("deep.power", "informs", False)]),
        (690.0, {"power_budget_w": 1400}, [("deep.power", "informs", False)]),
        (690.0, {"power_budget_w": 1300}, [("deep.power", "warns", False)]),
        (690.0, {"circuit_w": 1800}, [("deep.power", "informs", False)]),
        (690.0, {"circuit_w": 1700}, [("deep.power", "warns", False)]),
        (690.0, {"circuit_w": 1300}, [("deep.power", "blocks", True)]),
        (690.0, {"circuit_w": 1700, "power_budget_w": 1300}, [("deep.power", "warns", False)] * 2),
        (500.0, {}, [("deep.power", "informs", False), ("deep.power.not-full", "informs", False)]),
    ],
)
def test_power_is_judged_by_the_budget_and_the_circuit(
    watts: float, changes: dict[str, Any], expected: list[tuple[str, str, bool]]
) -> None:
    assert said(power(watts, **changes)) == expected


def test_power_from_before_the_load_does_not_count() -> None:
    assert "draw 1380 W together at full tilt (peak 1380 W)" in power(690.0)[0].message


def test_a_load_that_nvml_did_not_see_is_said() -> None:
    told = outcome({"done": True, "began": 0.0, "ended": 10.0, "flop_per_s": 1.0})
    (found,) = judge.judge_power(check(POWER), subject(), told, ())

    assert (found.severity, "NVML told no power" in found.message) == ("warns", True)


def test_a_figure_that_could_not_be_taken_warns_and_never_blocks() -> None:
    silent = outcome(how="silent", exit_code=1)
    found = [
        *judge.judge_gpu_memory(check(GPU_MEMORY), subject(), silent),
        *judge.judge_pcie(check(PCIE), subject(), silent, {}),
        *judge.judge_power(check(POWER), subject(), silent, ()),
    ]

    assert [item.severity for item in found] == ["warns"] * 3
