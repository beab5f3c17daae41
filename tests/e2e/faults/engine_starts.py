"""A load that is slow, silent, or goes round in circles.

A deadline that the load after the fault must keep is ten seconds and more: a container takes three to start on a busy machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.faults.play import fault

if TYPE_CHECKING:
    from tests.e2e.faults.play import Play

GROUP = "load"


@fault(
    GROUP,
    "a load takes ten times as long as usual, and goes on moving",
    by="a load slowed down tenfold, longer than deadlines.stall allows silence",
    sees="its stages one by one, then `READY`; nothing is restarted",
)
def slow_inside(play: Play) -> None:
    play.rehearse("slow:10", load=1.5, deadlines={"stall": "10s"}).ends(0)
    assert play.rig.history(play.name) == ["STARTING", "READY"]
    play.strikes(play.rig.journal(play.name)[0].at.timestamp())
    play.noticed = None
    assert play.rig.status(play.name)["failures"] == 0
    play.serves()


@fault(
    GROUP,
    "a load goes on beyond its deadline",
    by="a load slowed down a hundredfold, deadlines.startup = 2s",
    sees="`not READY within 2.0s (deadlines.startup)`, counted as a failure",
)
def slow_beyond(play: Play) -> None:
    ran = play.rehearse("slow:100", deadlines={"startup": "2s", "stall": "2s"}, restart={"budget": 0})
    ran.ends(3, "deadlines.startup")
    assert play.rig.history(play.name) == ["STARTING", "STOPPING", "FAILED"]
    started = next(item for item in play.rig.journal(play.name) if item.event == "container-started")
    play.strikes(started.at.timestamp() + 2.0)


@fault(
    GROUP,
    "a load goes silent",
    by="the engine hangs in its weights, deadlines.stall = 10s",
    sees="`stalled: no progress for`, `(deadlines.stall)`, then `READY`",
)
def silent(play: Play) -> None:
    play.ready("once:hang@weights", deadlines={"stall": "10s"})
    assert play.rig.history(play.name)[-4:] == ["STOPPING", "BACKOFF", "STARTING", "READY"]
    play.struck_after("fault once:hang@weights will strike")
    play.serves()


@fault(
    GROUP,
    "a load goes on talking and never ends",
    by="the engine logs without progress in its weights, deadlines.startup = 12s",
    sees="`not READY within 12s (deadlines.startup)`, then `READY`",
)
def talking(play: Play) -> None:
    play.ready("once:stall@weights", deadlines={"startup": "12s", "stall": "12s"})
    assert play.rig.history(play.name) == ["STARTING", "STOPPING", "BACKOFF", "STARTING", "READY"]
    play.struck_after("fault once:stall@weights will strike", 12.0)
    play.serves()


@fault(
    GROUP,
    "a load hangs before its first word",
    by="the engine is stopped with SIGSTOP while it loads, deadlines.stall = 10s",
    sees="`stalled: no progress for`, `still there after 1.0s, killed`, then `READY`",
)
def frozen_loading(play: Play) -> None:
    import os
    import signal

    play.rehearse(load=2.0, words=("--detach",), deadlines={"stall": "10s", "stop_grace": "1s"}).ends(0)
    play.rig.await_event(play.name, "stage")
    os.kill(play.pid(), signal.SIGSTOP)
    play.strikes()
    play.becomes("STARTING", "STOPPING", "BACKOFF", "STARTING", "READY")
    play.serves()


LONG = frozenset({slow_inside, silent, talking, frozen_loading})
