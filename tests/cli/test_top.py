"""``launchpad top``: what it draws, as text, and a run in a real pseudo-terminal."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from launchpad.cli.top_screen import BUCKET_S, SPARK, History, Screen, spark
from launchpad.observe.view import Card, Reader, RigView
from launchpad.rig.nvml import NvmlProblem
from launchpad.supervise.machine import Phase, State
from launchpad.supervise.snapshot import GpuView
from tests.fakes.clock import BEGINNING, ManualClock
from tests.observe.rig import Rig, alarm, gpu, loading, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Launchpad


@pytest.fixture
def rig(state: Path) -> Iterator[Rig]:
    made = Rig(state)
    yield made
    made.close()


def drawn(view: RigView, history: History | None = None, **how: Any) -> str:
    """The screen as text, without trailing white space."""
    width, height = how.pop("width", 80), how.pop("height", 24)
    file = io.StringIO()
    console = Console(width=width, height=height, file=file, color_system=None)
    console.print(Screen(history or History(), **how).draw(view, None, 60.0, width, height))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def view(rig: Rig) -> RigView:
    return Reader(rig.store, ManualClock()).read()


def busy_rig(rig: Rig) -> RigView:
    watched = (alarm("hot", 3, severity="warning", message="GPU 3 is at 89 C"),)
    cards = tuple(gpu(index, power_w=300.0 + 60 * index) for index in range(4))
    rig.deployment(snapshot(name="v4-flash-sglang-tp4", gpus=cards, alarms=watched))
    rig.deployment(loading(gpus=()))
    rig.deployment(snapshot(name="dead", gpus=()), alive=False)
    return view(rig)


def minute(view: RigView) -> History:
    history = History()
    for second in range(0, 61, 5):
        history.note(view, float(second))
    return history


def test_a_busy_rig_on_80_by_24(rig: Rig) -> None:
    seen = busy_rig(rig)
    assert (
        drawn(seen, minute(seen))
        == """\
launchpad  2026-11-23 12:00:00Z  1 of 3 ready                     4 GPUs, 1560 W
DEPLOYMENT         PHASE                SINCE  TOK/S              RUN+WAIT   KV
dead               no supervisor            -      -                     -    -
slow               weights 12/48       3h 00m      -                     -    -
v4-flash-sglang-t… READY               3h 00m    412 ████████████      7+2  63%

GPU MEMORY               POWER              TEMP UTIL HELD BACK BY; HELD BY
  0 ███████░ 78/95G   300/450W ▆▆▆▆▆▆▆▆▆▆▆▆  71C  98% cap; v4-flash-sglang-tp4
  1 ███████░ 78/95G   360/450W ▇▇▇▇▇▇▇▇▇▇▇▇  71C  98% cap; v4-flash-sglang-tp4
  2 ███████░ 78/95G   420/450W ████████████  71C  98% cap; v4-flash-sglang-tp4
  3 ███████░ 78/95G   480/450W ████████████  71C  98% cap; v4-flash-sglang-tp4

critical  dead: nobody looks after it; launchpad up dead
warning   v4-flash-sglang-tp4: GPU 3 is at 89 C"""
    )


def test_a_terminal_without_blocks_is_served_in_ascii(rig: Rig) -> None:
    seen = busy_rig(rig)
    assert drawn(seen, minute(seen), ascii_only=True, width=100).replace("…", "").isascii()


def test_an_empty_rig_says_so(rig: Rig) -> None:
    assert (
        drawn(view(rig))
        == """\
launchpad  2026-11-23 12:00:00Z  0 of 0 ready                             0 GPUs
DEPLOYMENT         PHASE                SINCE  TOK/S              RUN+WAIT   KV

GPU MEMORY               POWER              TEMP UTIL HELD BACK BY; HELD BY

no alarms"""
    )


def test_what_is_unknown_is_a_dash(rig: Rig) -> None:
    rig.deployment(snapshot(gpus=(GpuView("GPU-0", 0),), traffic=None, alarms=(), power_cap_w=None))
    lines = drawn(view(rig)).splitlines()
    assert lines[2].split() == ["small", "READY", "3h", "00m", "-", "-", "-"]
    assert lines[5].split() == ["0", "-", "-/-W", "-", "-", "does", "not", "answer;", "small"]


def test_a_lost_card_is_not_zero_watts(rig: Rig) -> None:
    rig.deployment(snapshot(gpus=(GpuView("GPU-0", 0),)))
    assert drawn(view(rig)).splitlines()[0].endswith("1 GPU")


def test_a_card_that_nobody_holds_is_there() -> None:
    seen = RigView(BEGINNING, cards=(Card(gpu(5, reasons=("idle",)), up=True),))
    assert drawn(seen).splitlines()[4].split()[-3:] == ["412/450W", "71C", "98%"]


@pytest.mark.parametrize("height", [8, 10, 12, 16, 24, 40])
def test_it_never_draws_more_lines_than_the_terminal_has(rig: Rig, height: int) -> None:
    for number in range(20):
        rig.deployment(snapshot(name=f"d{number:02}", gpus=(gpu(number),)))
    assert len(drawn(view(rig), height=height).splitlines()) <= max(height, 11)


@pytest.mark.parametrize("width", [80, 81, 100, 132, 200])
def test_no_line_is_wider_than_the_terminal(rig: Rig, width: int) -> None:
    seen = busy_rig(rig)
    assert max(map(len, drawn(seen, minute(seen), width=width).splitlines())) <= width


def test_what_does_not_fit_is_counted(rig: Rig) -> None:
    for number in range(20):
        rig.deployment(snapshot(name=f"d{number:02}", gpus=(), alarms=()))
    assert "and 5 more deployments" in drawn(view(rig), height=22)


@pytest.mark.parametrize(
    ("phase", "trouble"),
    [
        (Phase.FAILED, "critical  small: out of memory"),
        (Phase.BACKOFF, "warning   small: out of memory"),
        (Phase.UNREADY, "warning   small: out of memory"),
        (Phase.READY, "no alarms"),
    ],
)
def test_a_deployment_that_is_not_well_says_why(rig: Rig, phase: Phase, trouble: str) -> None:
    state = State(phase, BEGINNING - timedelta(minutes=1), "out of memory")
    rig.deployment(snapshot(gpus=(), alarms=(), state=state))
    assert drawn(view(rig)).splitlines()[-1] == trouble


def test_a_silent_nvml_is_an_alarm(rig: Rig) -> None:
    file = io.StringIO()
    problem = NvmlProblem("no-answer", "NVML does not answer within 15 s")
    Console(width=80, file=file, color_system=None).print(Screen(History()).draw(view(rig), problem, 0.0, 80))
    assert "warning   NVML does not answer within 15 s" in file.getvalue()


@pytest.mark.parametrize(
    ("columns", "top", "text"),
    [
        ((0.0, 50.0, 100.0), 100.0, "▁▅█"),
        ((None, 100.0, None), 100.0, " █ "),
        ((200.0, -5.0), 100.0, "█▁"),
        ((0.0, 0.0), 0.0, "▁▁"),
    ],
)
def test_a_sparkline(columns: tuple[float | None, ...], top: float, text: str) -> None:
    assert spark(columns, top, "▁▂▃▄▅▆▇█") == text


def test_a_minute_is_remembered_and_no_more(rig: Rig) -> None:
    rig.deployment(snapshot())
    history, seen = History(), view(rig)
    for second in range(600):
        history.note(seen, float(second))
    columns = history.columns(("power", "GPU-0"), 599.0)
    assert (len(columns), None in columns, sum(map(len, history._seen.values())) < 250) == (SPARK, False, True)


def test_a_gap_in_what_is_known_is_a_gap_in_the_line(rig: Rig) -> None:
    rig.deployment(snapshot())
    history, seen = History(), view(rig)
    history.note(seen, 0.0)
    history.note(seen, 4 * BUCKET_S)
    known = [value is not None for value in history.columns(("power", "GPU-0"), 4 * BUCKET_S)]
    assert known == [False] * 7 + [True] + [False] * 3 + [True]


def test_without_a_terminal_it_prints_once(launchpad: Launchpad, rig: Rig) -> None:
    rig.deployment(snapshot(gpus=(), alarms=()))
    ended = launchpad("top")
    assert (ended.code, "small" in ended.out, "\x1b" in ended.out) == (0, True, False)


def test_json_is_one_object(launchpad: Launchpad, rig: Rig) -> None:
    rig.deployment(
        snapshot(gpus=(), traffic=None, alarms=(alarm(),), updated_at=datetime.now(UTC))
    )  # the command's own clock
    said = launchpad("top", "--json").json
    assert [*said] == ["at", "deployments", "gpus", "alarms"]
    assert said["deployments"][0] == {
        "name": "small",
        "phase": "READY",
        "since": "2026-11-23T09:00:00.000Z",
        "ready": True,
        "supervised": True,
        "rehearsal": False,
        "generation_tokens_per_s": None,
        "running": None,
        "queued": None,
        "kv_usage": None,
    }


@pytest.mark.parametrize("interval", ["0", "-1", "1000"])
def test_an_interval_that_makes_no_sense_is_a_usage_error(launchpad: Launchpad, interval: str) -> None:
    assert launchpad("top", "--interval", interval).code == 2


# ---- in a terminal -------------------------------------------------------------------------------------------------------


class Terminal:
    """A pseudo-terminal of 80 by 24 with ``launchpad top`` in it."""

    def __init__(self, state: Path) -> None:
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(theirs)
        self._theirs = theirs
        environ = {
            **os.environ,
            "LAUNCHPAD_STATE_DIR": str(state),
            "TERM": "xterm-256color",
            "COLUMNS": "",
            "LINES": "",
        }
        self.child = subprocess.Popen(
            [sys.executable, "-m", "launchpad", "top", "--interval", "0.2"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={name: value for name, value in environ.items() if value},
            start_new_session=True,
        )
        self.said = ""

    def until(self, text: str, seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while text not in self.said:
            assert time.monotonic() < end, self.said
            if select.select([self.ours], [], [], 0.1)[0]:
                self.said += os.read(self.ours, 65536).decode(errors="replace")

    def ended(self) -> int:
        """Its exit code; all that it said is read."""
        end = time.monotonic() + 60
        while self.child.poll() is None:
            assert time.monotonic() < end, "it does not end"
            if select.select([self.ours], [], [], 0.05)[0]:
                self.said += os.read(self.ours, 65536).decode(errors="replace")
        while select.select([self.ours], [], [], 0)[0]:
            self.said += os.read(self.ours, 65536).decode(errors="replace")
        return self.child.returncode

    @property
    def right_again(self) -> bool:
        """Whether the terminal is as it was: its modes, its screen and its cursor."""
        last = self.said.rpartition("\x1b[?1049")[2]
        return termios.tcgetattr(self._theirs) == self.before and last.startswith("l") and "\x1b[?25h" in self.said

    def close(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        os.close(self.ours)
        os.close(self._theirs)


@pytest.fixture
def terminal(rig: Rig, state: Path) -> Iterator[Terminal]:
    rig.deployment(snapshot(gpus=()))
    made = Terminal(state)
    yield made
    made.close()


def test_q_leaves_and_the_terminal_is_right_again(terminal: Terminal) -> None:
    terminal.until("small")
    os.write(terminal.ours, b"q")
    assert (terminal.ended(), terminal.right_again) == (0, True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_a_signal_leaves_and_the_terminal_is_right_again(terminal: Terminal, number: signal.Signals, code: int) -> None:
    terminal.until("small")
    terminal.child.send_signal(number)
    assert (terminal.ended(), terminal.right_again) == (code, True)


def test_another_key_does_nothing(terminal: Terminal) -> None:
    terminal.until("small")
    os.write(terminal.ours, b"x")
    terminal.said = ""
    terminal.until("small")
    assert terminal.child.poll() is None
