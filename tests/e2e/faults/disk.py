"""The disk under the state directory fills up, turns read-only, or holds what no launchpad wrote."""

from __future__ import annotations

import contextlib
import json
import subprocess
from typing import TYPE_CHECKING

from tests.e2e.faults.engine import mount
from tests.e2e.faults.play import fault
from tests.e2e.harness import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.faults.play import Play

GROUP = "disk"


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of one megabyte at ``folder``; yields the path of a file that may fill it."""
    folder.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", "size=1m,mode=755", "tmpfs", folder)
    try:
        yield folder / "ballast"
    finally:
        subprocess.run(("umount", "-l", folder), check=True, capture_output=True)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Whoever opens a file under ``folder`` from now on finds a read-only file system."""
    mount("--bind", folder, folder)
    try:
        mount("-o", "remount,bind,ro", folder)
        yield
    finally:
        subprocess.run(("umount", "-l", folder), check=True, capture_output=True)


def fill(ballast: Path) -> None:
    """Write until nothing more fits."""
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)


@fault(
    GROUP,
    "the disk of the state directory fills up, and the server dies",
    by="a tmpfs filled to the last byte, then docker kill; freed later",
    sees="`cannot write` in the supervisor's log; the server comes back all the same, and once there is room status says so",
)
def full(play: Play) -> None:
    ballast = play.within(small_disk(play.rig.state))
    play.ready()
    before = play.rig.inspect(play.name)["Id"]
    fill(ballast)
    play.strikes()
    play.rig.client.api.kill(play.container)
    eventually(lambda: another(play, before) and play.rig.ask(play.name) == 200, 60, "another server")
    import time

    play.recovered, play.ends = time.time() - (play.at or 0.0), "READY"
    play.tell(play.rig.run("up", play.name))  # whatever it can say
    ballast.unlink()
    eventually(lambda: play.rig.phase(play.name) == "READY" and said_again(play, before), 30, "a state that is news")
    log = (play.rig.deployment(play.name) / "supervisor.log").read_text()
    play.said(log)
    assert len(play.rig.mine()) == 1


def another(play: Play, before: str) -> bool:
    """Whether another container runs."""
    found = play.rig.container(play.name)
    return found is not None and found.id != before and found.status == "running"


def said_again(play: Play, before: str) -> bool:
    """Whether status shows another container than before."""
    return any(item["id"] != before for item in play.rig.status(play.name)["containers"])


@fault(
    GROUP,
    "`up` on a full disk",
    by="a tmpfs filled to the last byte",
    sees="exit code 1, `No space left on device`; nothing is started",
)
def up_on_full(play: Play) -> None:
    ballast = play.within(small_disk(play.rig.state))
    fill(ballast)
    ran = play.rehearse()
    assert ran.code == 1, ran
    assert "Traceback" not in ran.err
    assert play.rig.mine() == []
    play.name = ""


@fault(
    GROUP,
    "the state directory turns read-only, and the server dies",
    by="a read-only bind mount over it, then docker kill; undone later",
    sees="`Read-only file system` in the supervisor's log; the server comes back all the same",
)
def turns_read_only(play: Play) -> None:
    play.ready()
    before = play.rig.inspect(play.name)["Id"]
    with read_only(play.rig.state):
        play.strikes()
        play.rig.client.api.kill(play.container)
        eventually(lambda: another(play, before) and play.rig.ask(play.name) == 200, 60, "another server")
        import time

        play.recovered, play.ends = time.time() - (play.at or 0.0), "READY"
    eventually(lambda: said_again(play, before), 30, "a state that is news")
    play.said((play.rig.deployment(play.name) / "supervisor.log").read_text())
    assert len(play.rig.mine()) == 1


@fault(
    GROUP,
    "`up` on a read-only state directory",
    by="a read-only bind mount over it",
    sees="exit code 1, `Read-only file system`, and `LAUNCHPAD_STATE_DIR`",
)
def up_on_read_only(play: Play) -> None:
    play.rig.state.mkdir()
    with read_only(play.rig.state):
        ran = play.rehearse()
    assert ran.code == 1, ran
    assert play.rig.mine() == []
    play.name = ""


@fault(
    GROUP,
    "a power cut tears the journal's last line",
    by="half a line appended, the supervisor killed, `up` again".replace("`", ""),
    sees="`adopted`; no line that was whole is lost, and the server is not touched",
)
def torn_journal(play: Play) -> None:
    play.ready()
    begun, before = play.rig.started_at(play.name), play.rig.journal(play.name)
    play.kill_supervisor()
    path = play.rig.deployment(play.name) / "events.jsonl"
    with path.open("ab") as file:
        file.write(b'{"at":"2026-11-23T04:0')
    play.strikes()
    play.tell(play.rig.rehearse(play.name, *(), load=0.3).ends(0))
    play.event("adopted")
    assert play.rig.journal(play.name)[: len(before)] == before
    assert play.rig.started_at(play.name) == begun
    play.serves()


@fault(
    GROUP,
    "the state file holds nonsense",
    by="half of state.json overwritten, the supervisor killed, `up` again".replace("`", ""),
    sees="`warning`, `set aside`; the container is adopted by its spec hash: `adopted`",
)
def torn_state(play: Play) -> None:
    play.ready()
    begun = play.rig.started_at(play.name)
    play.kill_supervisor()
    path = play.rig.deployment(play.name) / "state.json"
    path.write_bytes(path.read_bytes()[:100])
    play.strikes()
    play.tell(play.rig.rehearse(play.name, load=0.3).ends(0))
    play.said((play.rig.deployment(play.name) / "supervisor.log").read_text())
    play.event("adopted")
    assert play.rig.started_at(play.name) == begun
    play.serves()


@fault(
    GROUP,
    "a newer launchpad wrote the state",
    by="version 99 in state.json, the supervisor killed, `up` again".replace("`", ""),
    sees="exit code 1, `newer`; the server goes on untouched",
)
def newer_state(play: Play) -> None:
    play.ready()
    begun = play.rig.started_at(play.name)
    play.kill_supervisor()
    path = play.rig.deployment(play.name) / "state.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "version": 99}))
    ran = play.tell(play.rig.rehearse(play.name, load=0.3))
    assert ran.code == 1, ran
    assert "Traceback" not in ran.err, ran.err
    assert json.loads(path.read_text())["version"] == 99
    assert play.rig.started_at(play.name) == begun
    assert play.rig.ask(play.name) == 200
    path.write_text(json.dumps(told))
