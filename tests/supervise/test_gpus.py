"""What the cards say, judged: sequences of samples against the alarms that begin and end."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launchpad.doctor.xids import CATALOG, XIDS, meaning_of
from launchpad.rig.facts import GpuSample, GpuTrouble, XidEvent
from launchpad.supervise.gpus import GpuWatch, Remark
from tests.supervise.cards import HANGS, LOST, Story, at, healthy, spec_on, xid


def story(**spec: Any) -> Story:
    return Story(GpuWatch(spec_on(0, 1, **spec)))


def well(played: Story) -> bool:
    return played.watch.lost is None and not played.watch.alarms


# -- alarms begin after their cause has lasted, and end after it is over ------------------------------------------------------


@pytest.mark.parametrize(
    ("cause", "lines"),
    [
        ({"reasons": ("hardware-slowdown", "power-brake")}, ["12 begins power-brake", "99 ends power-brake"]),
        ({"reasons": ("hardware-slowdown", "hardware-thermal")}, ["14 begins hardware-thermal", "129 ends hardware-thermal"]),
        ({"reasons": ("software-thermal",)}, ["24 begins software-thermal", "129 ends software-thermal"]),
        ({"reasons": ("hardware-slowdown",)}, ["19 begins hardware-slowdown", "99 ends hardware-slowdown"]),
        ({"temperature_c": 90}, ["19 begins hot", "189 ends hot"]),
        ({"pcie_gen": 1}, ["29 begins link-down", "99 ends link-down"]),
        ({"pcie_width": 4}, ["29 begins link-down", "99 ends link-down"]),
        ({"remapped_pending": True}, ["10 begins remapped-pending", "74 ends remapped-pending"]),
        ({"remapped_failure": True}, ["10 begins remapped-failure", "74 ends remapped-failure"]),
        ({"recovery": "gpu-reset"}, ["10 begins recovery-gpu-reset", "74 ends recovery-gpu-reset"]),
        ({"recovery": "node-reboot"}, ["10 begins recovery-node-reboot", "74 ends recovery-node-reboot"]),
        ({"recovery": "drain-p2p"}, ["10 begins recovery-drain-p2p", "74 ends recovery-drain-p2p"]),
        ({"recovery": "drain-and-reset"}, ["10 begins recovery-drain-and-reset", "74 ends recovery-drain-and-reset"]),
        ({"recovery": "of-tomorrow"}, ["10 begins recovery-other", "74 ends recovery-other"]),
        ({"power_limit_w": 600.0}, ["29 begins power-cap", "72 ends power-cap"]),
        ({"power_w": 500.0}, ["19 begins power-budget", "99 ends power-budget"]),
        # a software power cap is normal under a cap; so are clocks that idle
        ({"reasons": ("software-power-cap", "idle", "application-clocks", "sync-boost", "display-clocks")}, []),
        # an idle card lowers its link
        ({"pcie_gen": 1, "utilization_percent": 0}, []),
        ({"temperature_c": 89}, []),
        ({"power_limit_w": 450.9}, []),
    ],
)  # fmt: skip
def test_a_cause_of_a_minute_makes_one_alarm(cause: dict[str, Any], lines: list[str]) -> None:
    played = story(power_cap_w=450, power_budget_w=900).play(10)
    played.play(60, card=None if "power_w" in cause else 1, **cause).play(200)

    assert played.lines == lines
    assert played.watch.alarms == ()


@pytest.mark.parametrize(
    ("cause", "id_"),
    [
        ({"reasons": ("power-brake",)}, "power-brake"),
        ({"temperature_c": 95}, "hot"),
        ({"power_w": 600.0}, "power-budget"),
    ],
)
def test_a_cause_that_comes_and_goes_every_second_makes_one_alarm(cause: dict[str, Any], id_: str) -> None:
    played = story(power_budget_w=900).play(600, when=lambda second: second % 2 == 0, **cause)

    assert [line.split()[1:] for line in played.lines if line.endswith(id_)][:1] == [["begins", id_]]
    assert not [line for line in played.lines if line.endswith(f"ends {id_}")]


@pytest.mark.parametrize("cause", [{"reasons": ("power-brake",)}, {"temperature_c": 95}, {"pcie_gen": 1}])
def test_a_cause_of_one_second_makes_none(cause: dict[str, Any]) -> None:
    assert story().play(5).play(1, **cause).play(30).lines == []


def test_an_alarm_names_the_card_by_index_and_model_and_what_to_do() -> None:
    played = story(power_cap_w=450).play(60, card=1, power_limit_w=600.0)
    (alarm,) = played.watch.alarms

    assert (alarm.id, alarm.gpu, alarm.do, alarm.message, alarm.hint) == (
        "power-cap",
        1,
        "power",
        "GPU 1 (RTX PRO 6000): enforces 600 W, the profile's cap is 450 W",
        "`sudo nvidia-smi -i 1 -pl 450`",
    )


def test_hints_name_the_card() -> None:
    played = story().play(1, card=1, recovery="gpu-reset")

    assert "-i 1`" in played.watch.alarms[0].hint


def test_the_journal_says_how_long_an_alarm_lasted() -> None:
    played = story().play(60, card=0, remapped_pending=True).play(10)

    assert played.remarks[-1].reason == (
        "over after 1m 04s: GPU 0 (RTX PRO 6000): memory rows wait for a reset to be remapped"
    )
    assert played.remarks[-1].detail["seconds"] == 64.0


def test_a_link_alarm_lasts_while_the_card_idles_and_says_nothing_of_its_link() -> None:
    played = story().play(60, card=0, pcie_gen=1).play(600, card=0, pcie_gen=1, utilization_percent=0)

    assert [alarm.id for alarm in played.watch.alarms] == ["link-down"]


def test_an_alarm_whose_cause_cannot_be_seen_any_more_ends() -> None:
    played = story().play(60, card=0, temperature_c=95).play(70, card=0, temperature_c=None)

    assert played.watch.alarms == ()
    assert played.remarks[-1].reason.startswith("can no longer be seen: GPU 0")


def test_a_clock_that_is_set_neither_begins_nor_ends_an_alarm() -> None:
    watch = GpuWatch(spec_on(0))
    for seconds in (0, 86_400, 5):
        watch.look((healthy(0, seconds, temperature_c=95),), (), None, at(seconds))

    assert watch.alarms == ()


def test_a_machine_that_slept_has_not_been_hot_all_night() -> None:
    watch = GpuWatch(spec_on(0))
    for seconds in (0, 28_800):
        watch.look((healthy(0, seconds, temperature_c=95),), (), None, at(seconds))

    assert watch.alarms == ()


# -- power over the budget ---------------------------------------------------------------------------------------------------


def test_a_budget_is_over_where_what_is_known_of_it_is_already() -> None:
    played = story(power_budget_w=900).play(60, card=0, power_w=1000.0, absent=1)

    assert [alarm.id for alarm in played.watch.alarms] == ["power-budget"]


def test_a_card_that_does_not_say_its_power_makes_no_budget_kept() -> None:
    played = story(power_budget_w=900).play(60, power_w=600.0)
    played.play(30, card=0, power_w=None)

    assert [alarm.id for alarm in played.watch.alarms] == ["power-budget"]


def test_cards_of_others_do_not_count() -> None:
    watch = GpuWatch(spec_on(0, power_budget_w=400))
    played = Story(watch, cards=(0, 5)).play(60, card=5, power_w=500.0, temperature_c=99)

    assert (played.lines, watch.alarms) == ([], ())


# -- ECC -----------------------------------------------------------------------------------------------------------------------


def test_uncorrected_errors_that_grow_stand_for_an_hour() -> None:
    played = story().play(5, ecc_uncorrected=2).play(3700, card=1, ecc_uncorrected=5).lines

    assert played == ["5 begins ecc-uncorrected", "3605 ends ecc-uncorrected"]


def test_uncorrected_errors_of_before_are_not_news() -> None:
    assert story().play(100, ecc_uncorrected=7).lines == []


def test_a_reset_takes_back_the_errors_it_cured() -> None:
    played = story().play(5, ecc_uncorrected=2).play(5, ecc_uncorrected=3).play(5, ecc_uncorrected=0)

    assert (played.watch.alarms, played.lines[-1]) == ((), "10 ends ecc-uncorrected")


def test_a_storm_of_corrected_errors_is_told_and_a_drizzle_is_not() -> None:
    counted = iter(range(100_000))
    watch = GpuWatch(spec_on(0))
    played = Story(watch, cards=(0,))
    for second in range(120):
        played.look((healthy(0, second, ecc_corrected=second // 2),))
    assert played.lines == []
    for _ in range(120):
        played.look((healthy(0, played.now, ecc_corrected=60 + 3 * next(counted)),))

    assert [alarm.id for alarm in watch.alarms] == ["ecc-corrected"]


# -- NVML's trouble, and what no restart mends ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "lost"),
    [
        ("gpu-lost", "gpu.lost"),
        ("reset-required", "gpu.reset-required"),
        ("version-mismatch", "driver.version-mismatch"),
        ("no-answer", None),
        ("driver-not-loaded", None),
        ("library-missing", None),
        ("other", None),
        ("of-tomorrow", None),
    ],
)
def test_trouble_is_an_alarm_and_some_of_it_ends_retries(kind: str, lost: str | None) -> None:
    played = story().play(5)
    for _ in range(30):
        played.look((), (), GpuTrouble(kind, "something is wrong", "do something"))
    verdict = played.watch.lost
    known = kind if kind != "of-tomorrow" else "other"

    assert [alarm.id for alarm in played.watch.alarms] == [f"nvml-{known}"]
    assert (verdict.id if verdict else None, verdict is None or verdict.fatal) == (lost, True)
    played.play(30)
    assert (played.watch.alarms, played.watch.lost) == ((), None)


def test_a_lost_card_is_named_by_index_and_model_with_its_fix() -> None:
    verdict = story().play(5).play(5, absent=1, trouble=LOST).watch.lost

    assert verdict is not None
    assert (verdict.reason, verdict.hint) == ("GPU 1 (RTX PRO 6000) fell off the bus", "reboot")


def test_the_lost_card_of_another_deployment_is_not_ours() -> None:
    watch = GpuWatch(spec_on(0))
    played = Story(watch, cards=(0,)).play(30, trouble=LOST)

    assert (played.lines, watch.lost) == ([], None)


def test_a_card_of_another_deployment_that_hides_ours_ends_no_retries() -> None:
    watch = GpuWatch(spec_on(0))
    for second in range(5):
        watch.look((), (), LOST, at(second))

    assert ([alarm.id for alarm in watch.alarms], watch.lost) == (["nvml-gpu-lost"], None)


def test_a_lost_card_stays_lost_while_nothing_can_be_seen() -> None:
    played = story().play(5).play(5, absent=1, trouble=LOST)
    played.look((), (), HANGS)
    played.look((), ())

    assert played.watch.lost is not None


@pytest.mark.parametrize(("recovery", "lost"), [("gpu-reset", True), ("node-reboot", True), ("drain-p2p", False)])
def test_what_the_driver_asks_for_decides_about_retries(recovery: str, lost: bool) -> None:
    played = story().play(1, card=1, recovery=recovery)

    assert (played.watch.lost is not None) is lost
    assert played.play(1).watch.lost is None


# -- Xids ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [*XIDS, 4711])
def test_every_xid_is_told(code: int) -> None:
    (remark,) = story().play(1, xids=(xid(code),)).remarks[:1]

    assert (remark.event, remark.detail["xid"], remark.detail["gpu"]) == ("xid", code, 0)
    assert remark.reason == f"GPU 0 (RTX PRO 6000): Xid {code}, {meaning_of(code).meaning}"


@pytest.mark.parametrize("code", [*XIDS, 4711])
def test_an_xid_that_matters_is_an_alarm_that_ends(code: int) -> None:
    played = story().play(1, xids=(xid(code),))
    before = [alarm.id for alarm in played.watch.alarms]
    for second in range(0, 7300, 20):
        played.watch.look((healthy(0, second), healthy(1, second)), (), None, at(played.now + second))

    assert before == ([] if meaning_of(code).severity == "info" else [f"xid-{code}"])
    assert (played.watch.alarms, played.watch.lost) == ((), None)


def test_a_gpu_that_fell_off_the_bus_is_lost_until_it_answers_for_a_while() -> None:
    played = story().play(5).play(1, xids=(xid(79, 1),))
    assert played.watch.lost is not None
    assert played.watch.lost.id == "gpu.xid-79"
    played.play(20, absent=1)
    assert played.watch.lost is not None

    assert well(played.play(20))


def test_the_drivers_own_word_ends_a_fatal_xid() -> None:
    played = story().play(1, xids=(xid(95),), recovery="gpu-reset")
    assert played.watch.lost is not None

    assert well(played.play(15))


def test_where_the_driver_has_no_word_a_fatal_xid_explains_a_death_for_ten_minutes() -> None:
    played = story().play(1, xids=(xid(95),), recovery=None).play(598, recovery=None)
    assert played.watch.lost is not None

    assert played.play(5, recovery=None).watch.lost is None


def test_a_driver_that_was_loaded_again_ends_the_xids_of_before() -> None:
    played = story().play(1, xids=(xid(119),), energy_j=9000.0).play(5, energy_j=9500.0)
    assert [alarm.id for alarm in played.watch.alarms] == ["xid-119"]

    assert played.play(2, energy_j=3.0).watch.alarms == ()


@pytest.mark.parametrize("event", [xid(79, 5), xid(79, None, uuid="GPU-5"), XidEvent(at(0), 79, None, 5)])
def test_an_xid_of_another_card_is_not_ours(event: XidEvent) -> None:
    played = story().play(3, xids=(event,))

    assert (played.lines, played.watch.lost) == ([], None)


def test_an_xid_of_no_card_is_told_and_ends_no_retries() -> None:
    played = story().play(3, xids=(xid(79, None, uuid=None),))

    assert (played.lines, played.watch.lost) == (["0 xid 79", "0 begins xid-79"], None)


def test_an_xid_by_index_alone_is_of_that_card() -> None:
    played = story().play(1, xids=(XidEvent(at(0), 79, None, 1),))

    assert played.watch.lost is not None
    assert played.watch.lost.reason.startswith("GPU 1 ")


def test_a_flood_of_one_xid_is_counted() -> None:
    played = story()
    for _ in range(150):
        samples = (healthy(0, played.now), healthy(1, played.now))
        played.look(samples, (xid(31),) * 10)

    told = [remark for remark in played.remarks if remark.event == "xid"]
    assert [remark.detail["count"] for remark in told] == [10, 600, 600]
    assert told[1].reason.endswith("(600 times)")


def test_every_row_on_xids_says_where_it_comes_from() -> None:
    assert all(row.source.startswith("https://docs.nvidia.com/") and row.as_of for row in XIDS.values())


def test_an_xid_without_a_row_says_where_to_look() -> None:
    assert CATALOG in (meaning_of(4711).hint or "")


@pytest.mark.parametrize("row", [row for row in XIDS.values() if row.fatal], ids=lambda row: str(row.code))
def test_what_no_restart_mends_asks_for_more_than_one(row: Any) -> None:
    assert (row.severity, row.do in {"reset", "reboot", "reseat"}, bool(row.hint)) == ("critical", True, True)


@pytest.mark.parametrize(
    "code",
    [
        *(13, 31, 32, 38, 43, 45, 48, *range(56, 65), 68, 69, 74, 79, 92, 94, 95, 109, 110, *range(119, 126)),
        *(137, 140, 143, 145, 149, 154),
    ],
)
def test_the_xids_of_an_inference_rig_are_known(code: int) -> None:
    assert code in XIDS


# -- anything at all ------------------------------------------------------------------------------------------------------------

REASONS = st.sampled_from(["idle", "power-brake", "hardware-slowdown", "hardware-thermal", "software-thermal"])
COUNTS = st.none() | st.integers(0, 1_000_000)
SAMPLES = st.builds(
    GpuSample,
    uuid=st.sampled_from(["GPU-0", "GPU-1", "GPU-7"]),
    index=st.integers(0, 7),
    at=st.integers(-100, 10_000).map(at),
    memory_used_bytes=COUNTS,
    power_w=st.none() | st.floats(0, 2000),
    temperature_c=st.none() | st.integers(-10, 130),
    utilization_percent=st.none() | st.integers(0, 100),
    power_limit_w=st.none() | st.floats(0, 1000),
    energy_j=st.none() | st.floats(0, 1e9),
    reasons=st.none() | st.lists(REASONS, max_size=3).map(tuple),
    pcie_gen=st.none() | st.integers(0, 6),
    pcie_width=st.none() | st.integers(0, 16),
    pcie_gen_max=st.none() | st.integers(0, 6),
    pcie_width_max=st.none() | st.integers(0, 16),
    ecc_corrected=COUNTS,
    ecc_uncorrected=COUNTS,
    remapped_pending=st.none() | st.booleans(),
    remapped_failure=st.none() | st.booleans(),
    recovery=st.sampled_from([None, "none", "gpu-reset", "node-reboot", "drain-p2p", "of-tomorrow"]),
)
XID_EVENTS = st.builds(
    XidEvent,
    at=st.just(at(0)),
    xid=st.integers(0, 200),
    uuid=st.sampled_from([None, "GPU-0", "GPU-1", "GPU-7"]),
    index=st.none() | st.integers(0, 7),
)
TROUBLES = st.none() | st.builds(
    GpuTrouble,
    kind=st.sampled_from(["gpu-lost", "reset-required", "version-mismatch", "no-answer", "other", "of-tomorrow"]),
    message=st.sampled_from(["GPU 1 fell off the bus", "GPU 7 fell off the bus", "something else"]),
    hint=st.none() | st.just("do something"),
)
LOOKS = st.lists(
    st.tuples(
        st.lists(SAMPLES, max_size=3).map(tuple),
        st.lists(XID_EVENTS, max_size=2).map(tuple),
        TROUBLES,
        st.sampled_from([-500, 0, 1, 5, 60, 4000]),
    ),
    max_size=12,
)


@settings(max_examples=60)
@given(LOOKS)
def test_whatever_was_seen_alarms_begin_once_and_end_when_all_is_well(
    looks: list[tuple[tuple[GpuSample, ...], tuple[XidEvent, ...], GpuTrouble | None, int]],
) -> None:
    watch = GpuWatch(spec_on(0, 1, power_budget_w=900, power_cap_w=450))
    now, begun, ended = 0, 0, 0
    calm = [((), (), None, 300)] * 30 + [((), (), None, 5)] * 150
    for number, (samples, xids, trouble, later) in enumerate([*looks, *calm]):
        now += later
        told = samples if number < len(looks) else (healthy(0, now), healthy(1, now))
        events = [remark.event for remark in watch.look(told, xids, trouble, at(now))]
        begun, ended = begun + events.count("gpu-alarm"), ended + events.count("gpu-clear")
        assert len(watch.alarms) == begun - ended

    assert (watch.alarms, watch.lost) == ((), None)


@settings(max_examples=60)
@given(st.lists(st.sampled_from(["GPU-0", "GPU-1"]), max_size=3), st.integers(1, 50))
def test_cards_that_say_nothing_make_no_alarm(uuids: list[str], times: int) -> None:
    watch = GpuWatch(spec_on(0, 1, power_budget_w=900, power_cap_w=450))
    remarks: list[Remark] = []
    for second in range(times):
        silent = tuple(GpuSample(uuid, int(uuid[-1]), at(second)) for uuid in uuids)
        remarks += watch.look(silent, (), None, at(second))

    assert (remarks, watch.alarms, watch.lost) == ([], (), None)


def test_every_field_of_a_sample_that_a_healthy_card_has_is_told_in_these_tests() -> None:
    unsaid = {field.name for field in fields(GpuSample) if getattr(healthy(0, 0), field.name) is None}

    assert unsaid == {"energy_j", "sm_clock_mhz", "fan_percent"}
