"""``status``, ``events`` and ``logs`` from files alone: the names scripts rely on, and what is told where Docker is away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from launchpad.clock import stamp
from launchpad.store.journal import Event
from launchpad.store.state import VERSION, Deployment, Store, Wanted
from launchpad.supervise.machine import Phase, State
from launchpad.supervise.snapshot import Alarm, ContainerView, GpuView, Load, Snapshot, Traffic
from tests.deploy.specs import spec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Launchpad

NOW = datetime.now(UTC)
KEYS = [
    *("name", "phase", "ready", "reason", "hint", "since", "restarts", "failures", "retry_at", "endpoint", "model"),
    *("engine", "rehearsal", "spec_hash", "supervisor", "containers", "gpus", "gpu_problem", "load", "updated_at"),
    *("waiting", "alarms", "traffic", "power_cap_w", "crashes", "hosted", "fallback", "quiet_until"),
]


def snapshot(phase: Phase, name: str = "small", **changes: Any) -> Snapshot:
    """What a supervisor published a moment ago."""
    made: dict[str, Any] = {
        "version": VERSION,
        "name": name,
        "pid": 4711,
        "updated_at": NOW,
        "state": State(phase, NOW - timedelta(days=3), "because", restarts=2, failures=1),
        "spec_hash": spec(name=name).hash,
        "engine": "sglang",
        "model": "small",
        "endpoint": "http://127.0.0.1:8000",
        "rehearsal": False,
        **changes,
    }
    return Snapshot(**made)


class Files:
    """A state directory, prepared the way ``up`` and a supervisor write it."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root, lambda text: None)

    def deployment(self, name: str = "small", *, state: Snapshot | None = None, wanted: bool = True) -> Deployment:
        """A deployment that was asked for, and where ``state`` is given, reported on."""
        made = self.store.deployment(name)
        made.write_wanted(Wanted(VERSION, wanted, 1, NOW, spec(name=name)))
        if state is not None:
            made.write_state(state, durable=False)
        return made


@pytest.fixture
def files(state: Path) -> Files:
    return Files(state)


@pytest.fixture
def supervised(files: Files) -> Iterator[Deployment]:
    """A READY deployment whose supervisor lives: this process holds its lock."""
    view = ContainerView("0123456789abcdef", "launchpad-small", "lmsysorg/sglang:v0.5.23", NOW)
    gpus = (GpuView("GPU-0", 0, 84_000_000_000, 300.0, 60, 99), GpuView("GPU-1", 1))
    made = files.deployment(state=snapshot(Phase.READY, containers=(view,), gpus=gpus))
    lock = made.lock()
    assert lock.acquire()
    yield made
    lock.release()


# -- status ----------------------------------------------------------------------------------------------------------------


def test_without_deployments_status_says_so(launchpad: Launchpad) -> None:
    assert launchpad("status").out.endswith("; launchpad profiles list shows what can be brought up\n")


def test_without_deployments_status_as_json_is_an_empty_list(launchpad: Launchpad) -> None:
    assert launchpad("status", "--json").json == []


def test_status_of_one_as_json_has_these_keys(launchpad: Launchpad, supervised: Deployment) -> None:
    assert list(launchpad("status", "small", "--json").json) == KEYS


def test_status_of_all_as_json_is_a_list_of_the_same(
    launchpad: Launchpad, files: Files, supervised: Deployment
) -> None:
    files.deployment("another", state=snapshot(Phase.STOPPED, "another"))
    shown = launchpad("status", "--json").json

    assert [view["name"] for view in shown] == ["another", "small"]
    assert shown[1] == launchpad("status", "small", "--json").json


def test_a_supervised_server_that_is_ready_is_ready(launchpad: Launchpad, supervised: Deployment) -> None:
    shown = launchpad("status", "small", "--json").json

    assert (shown["phase"], shown["ready"], shown["supervisor"]["alive"], shown["load"]) == ("READY", True, True, None)
    assert (shown["restarts"], shown["failures"], shown["since"]) == (2, 1, stamp(NOW - timedelta(days=3)))


def test_gpus_and_containers_have_these_keys_and_null_where_unknown(
    launchpad: Launchpad, supervised: Deployment
) -> None:
    shown = launchpad("status", "small", "--json").json

    assert list(shown["containers"][0]) == ["id", "name", "image", "started_at"]
    assert shown["gpus"][1].pop("uuid") == "GPU-1"
    assert shown["gpus"][1].pop("index") == 1
    assert shown["gpus"][1] == dict.fromkeys(
        [
            *("memory_used_bytes", "power_w", "temperature_c", "utilization_percent", "name", "ours_bytes"),
            *("memory_total_bytes", "power_limit_w", "energy_j", "reasons", "sm_clock_mhz", "fan_percent", "pcie_gen"),
            *("pcie_width", "ecc_corrected", "ecc_uncorrected"),
        ]
    )


def test_the_table_has_these_columns(launchpad: Launchpad, supervised: Deployment) -> None:
    header, row, notes = launchpad("status").out.splitlines()

    assert header.split() == ["NAME", "PHASE", "SINCE", "PORT", "GPUS", "MEMORY", "WATTS", "TOK/S"]
    words = row.split()
    assert (words[:3], words[4:]) == (["small", "READY", "3d"], ["8000", "0,1", "unknown", "unknown", "-"])
    assert notes == "  2 restarts"


def busy(**changes: Any) -> Snapshot:
    """Four cards at work under a cap, one of them hot, and a start that waits."""
    gpus = tuple(
        GpuView(
            f"GPU-{index}",
            index,
            *(91_300_000_000, 287.0, 61, 98),
            ours_bytes=90_000_000_000,
            power_limit_w=450.0,
            reasons=("software-power-cap",),
        )
        for index in range(4)
    )
    traffic = Traffic(NOW, 12.0, 3.0, 1000.0, 2000.0, 100.0, 812.4, 0.41, None, 0.318, None)
    alarm = Alarm("hot", "warning", "GPU 1 (RTX PRO 6000): has 93 C", "check fans", "cool", NOW, 1)
    state = State(Phase.READY, NOW - timedelta(days=3), "because", waiting="GPU memory to be released: GPU 1: 9 GiB")
    made: dict[str, Any] = {
        "gpus": gpus,
        "traffic": traffic,
        "alarms": (alarm,),
        "state": state,
        "power_cap_w": 450.0,
        "crashes": 4,
        **changes,
    }
    return snapshot(Phase.READY, "v4-flash-sglang-tp4", **made)


def test_the_table_stays_within_80_columns(launchpad: Launchpad, files: Files) -> None:
    files.deployment("v4-flash-sglang-tp4", state=busy(rehearsal=True))
    long = Alarm("nvml-other", "warning", "long " * 30, "", "look", NOW)
    files.deployment("v4-flash-vllm-tp4", state=snapshot(Phase.STARTING, "v4-flash-vllm-tp4", alarms=(long,)))
    lines = launchpad("status").out.splitlines()

    assert [len(line) for line in lines if len(line) > 80] == []


def test_the_table_tells_power_against_the_cap_and_tokens(launchpad: Launchpad, files: Files) -> None:
    files.deployment("v4-flash-sglang-tp4", state=busy())
    words = launchpad("status").out.splitlines()[1].split()

    assert words[4:] == ["8000", "0-3", "340.1", "GiB", "1148/1800", "812"]


def test_the_table_tells_what_is_waited_for_and_every_alarm(launchpad: Launchpad, files: Files) -> None:
    files.deployment("v4-flash-sglang-tp4", state=busy())
    notes = launchpad("status").out.splitlines()[2:]

    assert notes == [
        "  no supervisor",
        "  waits for GPU memory to be released: GPU 1: 9 GiB",
        "  ! GPU 1: has 93 C",
    ]


def test_a_server_that_others_reach_shows_its_host(launchpad: Launchpad, files: Files) -> None:
    files.deployment(state=snapshot(Phase.STOPPED, endpoint="http://192.0.2.7:8000"))

    assert "192.0.2.7:8000" in launchpad("status").out


def test_what_holds_a_deployment_up_is_in_the_json(launchpad: Launchpad, files: Files) -> None:
    files.deployment("v4-flash-sglang-tp4", state=busy())
    shown = launchpad("status", "v4-flash-sglang-tp4", "--json").json

    assert (shown["waiting"], shown["power_cap_w"], shown["crashes"]) == (
        "GPU memory to be released: GPU 1: 9 GiB",
        450.0,
        4,
    )
    assert shown["alarms"] == [
        {
            "id": "hot",
            "severity": "warning",
            "message": "GPU 1 (RTX PRO 6000): has 93 C",
            "hint": "check fans",
            "do": "cool",
            "gpu": 1,
            "since": stamp(NOW),
        }
    ]
    assert shown["traffic"] == {
        "at": stamp(NOW),
        "running": 12.0,
        "queued": 3.0,
        "prompt_tokens_total": 1000.0,
        "generation_tokens_total": 2000.0,
        "prompt_tokens_per_s": 100.0,
        "generation_tokens_per_s": 812.4,
        "kv_usage": 0.41,
        "cache_hit": None,
        "ttft_p50_s": 0.318,
        "ttft_p95_s": None,
    }


@pytest.mark.parametrize(
    "line",
    [
        "waits for   GPU memory to be released: GPU 1: 9 GiB",
        "traffic     812 tokens/s, 12 running, 3 queued, KV cache 41% full, first token in 0.32 s",
        "restarts    0, 0 failures since the last stable spell, 4 crashes in all",
        "gpu         GPU 0: 85.0 GiB (83.8 GiB ours), 287 W of 450 W, 61 C, 98 %, software-power-cap",
        "alarm       warning: GPU 1 (RTX PRO 6000): has 93 C",
        "            cool: check fans",
    ],
)
def test_status_of_one_for_people_tells(line: str, launchpad: Launchpad, files: Files) -> None:
    files.deployment("v4-flash-sglang-tp4", state=busy())

    assert line in launchpad("status", "v4-flash-sglang-tp4").out.splitlines()


def test_a_limit_that_is_not_the_cap_is_shown_beside_it(launchpad: Launchpad, files: Files) -> None:
    files.deployment("v4-flash-sglang-tp4", state=busy(power_cap_w=300.0))

    assert "287 W of 450 W (cap 300 W)" in launchpad("status", "v4-flash-sglang-tp4").out


def test_a_load_tells_how_far_it_is(launchpad: Launchpad, files: Files) -> None:
    load = Load("weights", 12, 46, NOW - timedelta(seconds=30), 600.0, warm=True)
    lock = files.deployment(state=snapshot(Phase.STARTING, load=load)).lock()
    assert lock.acquire()
    shown = launchpad("status", "small", "--json").json["load"]
    table = launchpad("status").out
    lock.release()

    assert shown.pop("elapsed_s") >= 30
    assert shown == {"stage": "weights", "done": 12, "total": 46, "warm": True, "expected_s": 600.0}
    assert "  weights 12/46, 2 restarts" in table.splitlines()


def test_a_ready_file_without_its_supervisor_is_old_news(launchpad: Launchpad, files: Files) -> None:
    files.deployment(state=snapshot(Phase.READY))
    ended = launchpad("status", "small", "--json")

    assert (ended.code, ended.json["ready"], ended.json["supervisor"]) == (0, False, {"pid": None, "alive": False})
    assert ended.json["reason"].startswith("no supervisor runs; it last saw READY ")
    assert "cannot use the Docker Engine" in ended.json["reason"]


@pytest.mark.parametrize("phase", [Phase.STOPPED, Phase.FAILED])
def test_a_deployment_at_rest_needs_neither_supervisor_nor_docker(
    phase: Phase, launchpad: Launchpad, files: Files
) -> None:
    files.deployment(state=snapshot(phase))

    assert launchpad("status", "small", "--json").json["reason"] == "because"


def test_a_deployment_that_was_only_asked_for_has_the_same_keys(launchpad: Launchpad, files: Files) -> None:
    files.deployment()
    shown = launchpad("status", "small", "--json").json

    assert list(shown) == KEYS
    assert (shown["phase"], shown["endpoint"], shown["updated_at"]) == ("STOPPED", "http://127.0.0.1:8000", None)


def test_status_for_people_says_the_same(launchpad: Launchpad, supervised: Deployment) -> None:
    shown = launchpad("status", "small").out

    assert "phase       READY for 3d 00h" in shown
    assert "endpoint    http://127.0.0.1:8000/v1  (model small)\n" in shown
    assert "GPU 1: memory unknown, power unknown" in shown


def test_an_unreadable_spec_is_set_aside_and_no_endpoint_is_made_up(launchpad: Launchpad, state: Path) -> None:
    folder = state / "deployments" / "small"
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text("{")
    ended = launchpad("status", "small")

    assert (ended.code, "None" in ended.out, "is unreadable" in ended.err) == (0, False, True)


# -- events ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def journal(files: Files) -> list[Event]:
    """Three events of a deployment, the last one now."""
    made = files.deployment(state=snapshot(Phase.READY))
    events = [
        Event(NOW - timedelta(hours=2), "asked", "somebody asked", None, None, {"generation": 1}),
        Event(NOW - timedelta(hours=1), "phase", "container started", "STOPPED", "STARTING"),
        Event(NOW, "phase", "one completion came back", "STARTING", "READY", {"hint": "enjoy"}),
    ]
    for event in events:
        made.journal.append(event)
    return events


def test_events_as_json_have_these_keys(launchpad: Launchpad, journal: list[Event]) -> None:
    shown = launchpad("events", "small", "--json").lines

    assert [list(line) for line in shown] == [["at", "event", "from", "to", "reason", "detail"]] * 3
    assert shown[2] == {
        "at": stamp(NOW),
        "event": "phase",
        "from": "STARTING",
        "to": "READY",
        "reason": "one completion came back",
        "detail": {"hint": "enjoy"},
    }


def test_events_for_people_say_what_changed_and_why(launchpad: Launchpad, journal: list[Event]) -> None:
    lines = launchpad("events", "small").out.splitlines()

    assert [line[22:].strip() for line in lines] == [
        "asked                   somebody asked",
        "STOPPED -> STARTING     container started",
        "STARTING -> READY       one completion came back",
        "hint: enjoy",
    ]


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ((), 3),
        (("--tail", "0"), 0),
        (("--tail", "2"), 2),
        (("--tail", "9"), 3),
        (("--since", "90m"), 2),
        (("--since", "1d"), 3),
        (("--since", "90m", "--tail", "1"), 1),
        (("--since", stamp(NOW)), 0),
    ],
)
def test_events_can_be_cut_short(
    words: tuple[str, ...], count: int, launchpad: Launchpad, journal: list[Event]
) -> None:
    assert len(launchpad("events", "small", "--json", *words).lines) == count


def test_a_deployment_without_a_journal_has_no_events(launchpad: Launchpad, files: Files) -> None:
    files.deployment()

    assert (launchpad("events", "small").code, launchpad("events", "small").out) == (0, "")


# -- logs ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def log(files: Files) -> Deployment:
    """The log of a server whose container is gone: four lines in two files, the last one written now."""
    made = files.deployment(state=snapshot(Phase.STOPPED), wanted=False)
    old, new = made.log_path.with_suffix(".log.1"), made.log_path
    old.write_text(f"{stamp(NOW - timedelta(hours=2))} one\ncut short\n{stamp(NOW - timedelta(hours=1))} two  words\n")
    new.write_text(f"{stamp(NOW - timedelta(minutes=1))} \n{stamp(NOW)} four\n")
    return made


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ((), ["one", "two  words", "", "four"]),
        (("--tail", "2"), ["", "four"]),
        (("-n", "0"), []),
        (("--tail", "99"), ["one", "two  words", "", "four"]),
        (("--since", "90m"), ["two  words", "", "four"]),
        (("--since", "90m", "--tail", "1"), ["four"]),
        (("--since", "2099-01-01T00:00:00Z"), []),
    ],
)
def test_the_log_of_a_removed_container_is_still_there(
    words: tuple[str, ...], lines: list[str], launchpad: Launchpad, log: Deployment
) -> None:
    ended = launchpad("logs", "small", *words)

    assert (ended.code, ended.out.split("\n")[:-1]) == (0, lines)


def test_a_log_can_carry_its_times(launchpad: Launchpad, log: Deployment) -> None:
    assert launchpad("logs", "small", "-t", "-n", "1").out == f"{stamp(NOW)} four\n"


def test_what_docker_has_besides_is_missed_aloud_where_it_is_away(launchpad: Launchpad, log: Deployment) -> None:
    assert launchpad("logs", "small").err.startswith("only the copy on disk: cannot use the Docker Engine")


@pytest.mark.parametrize("command", ["logs", "events"])
@pytest.mark.parametrize("since", ["yesterday", "10", "2026-11-23", "2026-13-01T00:00:00Z"])
def test_a_since_that_is_no_time_is_a_wrong_use(
    command: str, since: str, launchpad: Launchpad, log: Deployment
) -> None:
    ended = launchpad(command, "small", "--since", since)

    assert (ended.code, "--since" in ended.err, "Traceback" in ended.err) == (2, True, False)


# -- down ------------------------------------------------------------------------------------------------------------------


def test_down_without_a_docker_engine_cannot_prove_anything_and_says_so(launchpad: Launchpad, files: Files) -> None:
    files.deployment(state=snapshot(Phase.STOPPED), wanted=False)
    ended = launchpad("down", "small")

    assert (ended.code, "cannot use the Docker Engine" in ended.err) == (1, True)
