"""Whose memory is on the GPUs, and whether a dead container's has been released."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launchpad.supervise.memory import MemoryWatch
from tests.supervise.cards import healthy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from launchpad.rig.facts import GpuSample

GIB = 1 << 30
OURS, OTHERS = "a" * 64, "b" * 64
Listed = tuple[tuple[int, int | None], ...]


class Rig:
    """One card's processes and who is in which container; ``says`` makes a sample of it a second later."""

    def __init__(self) -> None:
        self.inside: dict[int, str] = {}
        self.now = 0
        self.watch = MemoryWatch(["GPU-0"], self.inside.get, {10: "python3"}.get)

    def says(self, *listed: tuple[int, int | None], used: int | None = None, later: int = 1) -> tuple[GpuSample, ...]:
        """What NVML lists, with half a GiB of the driver's own beside it unless ``used`` is told."""
        self.now += later
        if used is None:
            used = sum(size or 0 for _, size in listed) + GIB // 2
        return (healthy(0, self.now, processes=listed, memory_used_bytes=used),)

    def lives(self, *listed: tuple[int, int | None], before: Listed = ()) -> None:
        """A container starts, and its process 10 holds 80 GiB beside ``listed``."""
        self.watch.starts(self.says(*before))
        self.inside[10] = OURS
        self.watch.runs(self.says((10, 80 * GIB), *listed), [OURS])


@pytest.fixture
def rig() -> Rig:
    return Rig()


# -- whose it is -----------------------------------------------------------------------------------------------------------


def test_ours_is_what_processes_in_our_containers_hold(rig: Rig) -> None:
    rig.inside[20] = OTHERS
    rig.lives((20, 5 * GIB), (30, GIB))

    (sample,) = rig.says((10, 70 * GIB), (20, 5 * GIB), (30, GIB))
    assert rig.watch.ours(sample) == 70 * GIB


@pytest.mark.parametrize(
    "sample",
    [
        healthy(0, 99, processes=None),
        healthy(0, 99, processes=((10, None),)),
        healthy(7, 99, processes=((10, GIB),)),
    ],
)
def test_what_nvml_does_not_say_is_not_made_up(sample: GpuSample, rig: Rig) -> None:
    rig.lives()

    assert rig.watch.ours(sample) is None


def test_before_any_container_ran_nothing_is_known_to_be_ours(rig: Rig) -> None:
    (sample,) = rig.says((10, GIB))

    assert rig.watch.ours(sample) is None


# -- released ----------------------------------------------------------------------------------------------------------------


def test_memory_is_released_when_the_process_is_gone_and_the_driver_has_it_back(rig: Rig) -> None:
    rig.lives()
    del rig.inside[10]

    assert (rig.watch.released(rig.says()), rig.watch.held(rig.says())) == (True, None)


def test_a_sample_from_before_the_death_proves_nothing(rig: Rig) -> None:
    rig.lives()
    last = rig.says()
    rig.watch.runs(last, [OURS])
    held = rig.watch.held(last)

    assert rig.watch.released(last) is False
    assert held is not None
    assert held.says == "GPU 0: no sample since the container ended"


def test_a_dead_process_that_nvml_still_lists_holds_its_memory(rig: Rig) -> None:
    rig.lives()
    del rig.inside[10]  # it has no /proc any more
    held = rig.watch.held(rig.says((10, 80 * GIB)))

    assert held is not None
    assert held.says == "80.0 GiB on GPU 0 held by pid 10 (python3)"
    assert rig.watch.released(rig.says((10, 80 * GIB))) is False
    assert rig.watch.released(rig.says()) is True


def test_a_process_of_the_dead_container_that_was_never_seen_is_known_by_its_cgroup(rig: Rig) -> None:
    rig.lives()
    rig.inside[11] = OURS
    held = rig.watch.held(rig.says((11, None)))

    assert held is not None
    assert (held.says, held.hint) == (
        "memory on GPU 0 held by pid 11",
        "`sudo kill -9 11`; what stays in state D needs a reboot",
    )


def test_a_process_id_that_another_container_has_now_is_not_ours(rig: Rig) -> None:
    rig.lives()
    rig.inside[10] = OTHERS

    assert rig.watch.released(rig.says((10, 80 * GIB))) is True


def test_a_process_id_that_was_free_for_a_sample_is_somebody_elses(rig: Rig) -> None:
    rig.lives()
    del rig.inside[10]
    assert rig.watch.released(rig.says()) is True

    assert rig.watch.released(rig.says((10, 3 * GIB))) is True


def test_a_process_id_that_was_reused_while_we_ran_is_not_ours(rig: Rig) -> None:
    rig.lives()
    del rig.inside[10]
    rig.inside[11] = OURS
    rig.watch.runs(rig.says((11, 80 * GIB)), [OURS])
    rig.watch.runs(rig.says((10, GIB), (11, 80 * GIB)), [OURS])

    assert rig.watch.released(rig.says((10, GIB))) is True


def test_memory_without_a_process_is_a_dead_context(rig: Rig) -> None:
    rig.lives()
    held = rig.watch.held(rig.says(used=40 * GIB + GIB // 2))

    assert held is not None
    assert held.says == "40.0 GiB on GPU 0 held by no process: the driver still holds it"
    assert "--gpu-reset -i 0" in held.hint


@pytest.mark.parametrize(
    ("used", "released"),
    [(GIB // 2, True), (2 * GIB, True), (3 * GIB, False), (0, True)],
)
def test_the_drivers_own_may_move_a_little(used: int, released: bool, rig: Rig) -> None:
    rig.lives()

    assert rig.watch.released(rig.says(used=used)) is released


def test_each_newcomer_may_cost_the_driver_some(rig: Rig) -> None:
    rig.lives()
    newcomers = tuple((pid, GIB) for pid in (20, 21, 22, 23))

    assert rig.watch.released(rig.says(*newcomers, used=4 * GIB + 4 * GIB)) is True
    assert rig.watch.released(rig.says(*newcomers, used=4 * GIB + 8 * GIB)) is False


def test_what_was_there_before_the_start_is_not_ours(rig: Rig) -> None:
    rig.watch.starts(rig.says(used=20 * GIB))
    rig.inside[10] = OURS
    rig.watch.runs(rig.says((10, 60 * GIB), used=80 * GIB), [OURS])

    assert rig.watch.released(rig.says(used=20 * GIB)) is True


def test_a_process_whose_memory_is_not_told_can_explain_all_of_it(rig: Rig) -> None:
    rig.lives()

    assert rig.watch.released(rig.says((20, None), used=60 * GIB)) is True


# -- what nobody can tell ------------------------------------------------------------------------------------------------------


def test_nothing_ran_and_nothing_began_so_nothing_is_known(rig: Rig) -> None:
    assert (rig.watch.released(rig.says()), rig.watch.held(rig.says())) == (None, None)


def test_without_a_sample_nobody_can_tell(rig: Rig) -> None:
    rig.lives()

    assert (rig.watch.released(()), rig.watch.held(())) == (None, None)


def test_without_a_list_of_processes_nobody_can_tell(rig: Rig) -> None:
    rig.lives()
    silent = (replace(rig.says()[0], processes=None),)

    assert rig.watch.released(silent) is None


def test_an_adopted_container_whose_processes_were_seen_is_proven_gone_by_them(rig: Rig) -> None:
    rig.inside[10] = OURS
    rig.watch.runs(rig.says((10, 80 * GIB)), [OURS])

    assert rig.watch.released(rig.says((10, 80 * GIB))) is False
    assert rig.watch.released(rig.says()) is True


def test_an_adopted_container_of_which_nothing_was_seen_proves_nothing(rig: Rig) -> None:
    rig.watch.runs(rig.says(), [OURS])

    assert rig.watch.released(rig.says()) is None


def test_a_start_that_was_refused_leaves_nothing(rig: Rig) -> None:
    rig.watch.starts(rig.says())

    assert rig.watch.released(rig.says()) is True


def test_a_deployment_without_gpus_has_nothing_to_release() -> None:
    watch = MemoryWatch([], lambda _pid: None)
    watch.starts(())
    watch.runs((), [OURS])

    assert watch.released(()) is None


def test_what_was_there_before_is_learned_late_where_nvml_was_late(rig: Rig) -> None:
    rig.watch.starts(())
    rig.watch.runs(rig.says(used=GIB), [OURS])
    rig.inside[10] = OURS
    rig.watch.runs(rig.says((10, 80 * GIB)), [OURS])

    assert rig.watch.released(rig.says(used=40 * GIB)) is False
    assert rig.watch.released(rig.says(used=GIB)) is True


# -- several cards --------------------------------------------------------------------------------------------------------------


def test_one_card_that_is_held_is_enough_and_is_named(rig: Rig) -> None:
    watch = MemoryWatch(["GPU-0", "GPU-1"], {10: OURS, 11: OURS}.get)
    watch.starts((healthy(0, 0, memory_used_bytes=0), healthy(1, 0, memory_used_bytes=0)))
    running = tuple(healthy(card, 1, processes=((10 + card, GIB),), memory_used_bytes=GIB) for card in (0, 1))
    watch.runs(running, [OURS])
    after = (healthy(0, 2, memory_used_bytes=0), healthy(1, 2, processes=((11, GIB),), memory_used_bytes=GIB))
    held = watch.held(after)

    assert held is not None
    assert held.says == "1.0 GiB on GPU 1 held by pid 11"


def test_cards_with_the_same_holder_are_named_together() -> None:
    watch = MemoryWatch(["GPU-0", "GPU-1"], {10: OURS}.get)
    watch.starts((healthy(0, 0, memory_used_bytes=0), healthy(1, 0, memory_used_bytes=0)))
    held = watch.held((healthy(0, 2, memory_used_bytes=9 * GIB), healthy(1, 2, memory_used_bytes=8 * GIB)))

    assert held is not None
    assert held.says == "17.0 GiB on GPU 0, 1 held by no process: the driver still holds it"
    assert "--gpu-reset -i 0,1`" in held.hint


def test_the_words_stay_while_the_holders_do(rig: Rig) -> None:
    rig.lives()
    words = [rig.watch.held(rig.says((10, size * GIB))) for size in (80, 60, 20)]
    other = rig.watch.held(rig.says(used=20 * GIB))

    assert len(set(words)) == 1
    assert other not in words


def test_a_card_that_says_nothing_hides_what_another_proves() -> None:
    watch = MemoryWatch(["GPU-0", "GPU-1"], {10: OURS}.get)
    watch.starts((healthy(0, 0, memory_used_bytes=0), healthy(1, 0, memory_used_bytes=0)))
    watch.runs((healthy(0, 1, processes=((10, GIB),), memory_used_bytes=GIB),), [OURS])

    assert watch.released((healthy(0, 2, memory_used_bytes=0),)) is None


def test_the_container_before_the_last_is_remembered(rig: Rig) -> None:
    rig.lives()
    rig.watch.starts(rig.says())
    rig.watch.runs(rig.says(), ["c" * 64])

    assert rig.watch.released(rig.says((10, 80 * GIB))) is False


def test_looks_between_two_samples_read_no_files() -> None:
    asked: list[int] = []

    def container_of(pid: int) -> str | None:
        asked.append(pid)
        return OURS

    watch = MemoryWatch(["GPU-0"], container_of)
    for _ in range(10):
        watch.runs((healthy(0, 1, processes=((10, GIB),)),), [OURS])

    assert asked == [10]


PROCESSES = st.none() | st.lists(st.tuples(st.integers(1, 5), st.none() | st.integers(0, 90 * GIB)), max_size=3).map(
    tuple
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["starts", "runs", "dead"]),
        st.booleans(),
        PROCESSES,
        st.none() | st.integers(0, 96 * GIB),
        st.dictionaries(st.integers(1, 5), st.sampled_from([OURS, OTHERS])),
        st.integers(0, 2),
    ),
    max_size=12,
)


@settings(max_examples=150)
@given(STEPS)
def test_whatever_nvml_says_what_is_held_is_said_and_what_is_gone_is_released(
    steps: Iterable[tuple[str, bool, Listed | None, int | None, dict[int, str], int]],
) -> None:
    inside: dict[int, str] = {}
    watch = MemoryWatch(["GPU-0"], inside.get)
    now = 0
    for what, seen, listed, used, moved, later in steps:
        now += later
        inside.clear()
        inside.update(moved)
        samples = (healthy(0, now, processes=listed, memory_used_bytes=used),) if seen else ()
        if what == "starts":
            watch.starts(samples)
        elif what == "runs":
            watch.runs(samples, [OURS])
        released = watch.released(samples)
        assert (watch.held(samples) is not None) is (released is False)
    inside.clear()

    gone = (healthy(0, now + 1, processes=(), memory_used_bytes=0),)
    assert watch.released(gone) is not False
