"""A stage for the supervisor: a runtime in memory, a server that answers as told, a clock that leaps, real files.

A supervisor runs in a thread of its own, as it would in its process. ``Die`` kills it at a call that a test counts: nothing
is cleaned up, as after ``kill -9``, and the next supervisor finds what the files and the runtime hold.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from launchpad.deploy.spec import Completion, ImageChoice, Policy, Spec
from launchpad.engines.base import Health
from launchpad.errors import StoreError
from launchpad.rig.host import Host
from launchpad.runtime.base import Container, ContainerSpec, Port
from launchpad.store.journal import Event, Journal
from launchpad.store.state import VERSION, Deployment, Store, Wanted
from launchpad.supervise.alerts import NoAlerts
from launchpad.supervise.loop import Supervisor
from launchpad.supervise.machine import Phase
from launchpad.supervise.notify import Notifier
from launchpad.supervise.outside import GpuSamples, Outside
from launchpad.supervise.samples import NoSamples
from launchpad.supervise.snapshot import Snapshot
from tests.fakes.clock import LeapingClock
from tests.fakes.prober import FakeServer
from tests.fakes.runtime import FakeRuntime

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from launchpad.runtime.base import SecretRef

IMAGE = "demo/server:1"
POLICY = Policy(
    startup_s=1800,
    stall_s=300,
    stop_grace_s=30,
    stable_s=600,
    first_delay_s=10,
    max_delay_s=60,
    budget=2,
    unready_after=2,
    dead_after=4,
)
HEALTH = Health(
    ready_paths=("/ready", "/health"),
    ready_timeout_s=1.0,
    live_path="/live",
    live_interval_s=10.0,
    live_timeout_s=1.0,
    live_failures=2,
)


def make_spec(*, command: tuple[str, ...] = ("serve",), secrets: tuple[SecretRef, ...] = ()) -> Spec:
    server = ContainerSpec(
        role="server",
        name="launchpad-demo",
        image=IMAGE,
        image_id=None,
        command=command,
        secrets=secrets,
        ports=(Port(8000, "127.0.0.1", 8000),),
    )
    return Spec(
        name="demo",
        profile="demo",
        engine="generic",
        summary="for tests",
        model="tiny",
        host="127.0.0.1",
        port=8000,
        containers=(server,),
        gpus=(),
        image=ImageChoice(IMAGE, IMAGE, "never"),
        health=HEALTH,
        completion=Completion("chat", "Hello", 4, 5.0, {}),
        policy=POLICY,
        cache=None,
        model_path=None,
        rig="none",
    )


class Die(BaseException):
    """The supervisor's process ends here, as by ``kill -9``."""


class Doom:
    """Ends one thread at the ``at[1]``-th call of the name ``at[0]``: counted by name, a life has the same points each time."""

    def __init__(self, at: tuple[str, int] | None = None, *, armed: bool = True) -> None:
        self._at, self.armed = at, armed
        self.points: list[tuple[str, int]] = []
        self.thread: threading.Thread | None = None
        self._dead = False

    def call(self, what: str) -> None:
        if not self.armed or threading.current_thread() is not self.thread or self._dead:
            return
        point = (what, sum(name == what for name, _ in self.points) + 1)
        self.points.append(point)
        if point == self._at:
            self._dead = True
            raise Die(what)


class DoomedRuntime(FakeRuntime):
    """Ends the supervisor before or after a call that changes the world, and before one that only looks."""

    doom = Doom()
    #: Whether every container ends on SIGTERM.
    obedient = False

    def _asked(self, method: str, *what: str) -> None:
        self.doom.call(f"before {method}")
        super()._asked(method, *what)

    def create(self, spec: ContainerSpec, secrets: Mapping[str, str]) -> Container:
        found = super().create(spec, secrets)
        self.doom.call("after create")
        return found

    def start(self, container_id: str) -> None:
        super().start(container_id)
        if self.obedient:
            self.dies_on(container_id, "SIGTERM", 0)
        self.doom.call("after start")

    def signal(self, container_id: str, signal: str) -> None:
        super().signal(container_id, signal)
        self.doom.call("after signal")

    def remove(self, container_id: str) -> None:
        super().remove(container_id)
        self.doom.call("after remove")


class DoomedJournal(Journal):
    """Ends the supervisor before or after a line; ``refusing`` is a disk that takes no more."""

    doom = Doom()
    refusing = False

    def append(self, event: Event) -> None:
        self.doom.call(f"before line {event.event}")
        if self.refusing:
            raise StoreError("cannot write events.jsonl: No space left on device")
        super().append(event)
        self.doom.call(f"after line {event.event}")


class DoomedDeployment(Deployment):
    """Ends the supervisor before or after what it writes; ``refusing`` is a disk that takes no more."""

    doom = Doom()
    refusing = False

    def write_state(self, state: object, *, durable: bool) -> None:
        self.doom.call("before state")
        if self.refusing:
            raise StoreError("cannot write state.json: No space left on device")
        super().write_state(state, durable=durable)
        self.doom.call("after state")

    def write_wanted(self, wanted: Wanted[Any]) -> None:
        self.doom.call("before wanted")
        super().write_wanted(wanted)
        self.doom.call("after wanted")

    def new_crash_folder(self, at: Any) -> Path:
        self.doom.call("before crash folder")
        if self.refusing:
            raise StoreError("cannot make crashes: No space left on device")
        return super().new_crash_folder(at)


class Run:
    """One supervisor's life."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        self.code: int | None = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def _run(self) -> None:
        try:
            self.code = self.supervisor.run()
        except BaseException as error:  # noqa: BLE001 - the test asks for it
            self.error = error

    def join(self) -> int | None:
        """Its exit code, once it has ended; an error of its own is the test's."""
        self.thread.join(10.0)
        if self.thread.is_alive():
            raise AssertionError("the supervisor goes on")
        if self.error is not None:
            raise self.error
        return self.code


class Stage:
    """See the module."""

    def __init__(self, root: Path) -> None:
        self.clock = LeapingClock()
        self.runtime = DoomedRuntime(clock=self.clock, images=[IMAGE])
        self.server = FakeServer()
        self.environ: dict[str, str] = {}
        self.warnings: list[str] = []
        self.store = Store(root, self.warnings.append)
        plain = self.store.deployment("demo")
        self.deployment = DoomedDeployment("demo", plain.folder, self.warnings.append)
        self.journal = DoomedJournal(plain.folder / "events.jsonl")
        self.deployment.journal = self.journal
        self.spec = make_spec()
        self.samples: GpuSamples = NoSamples()
        self.proc = root / "proc"
        self.boots("a first boot")
        self.generation = 0
        self.runs: list[Run] = []

    def ask(self, *, wanted: bool = True, spec: Spec | None = None) -> None:
        """What ``up`` and ``down`` write."""
        self.generation += 1
        self.spec = spec or self.spec
        self.deployment.write_wanted(Wanted(VERSION, wanted, self.generation, self.clock.now(), self.spec))
        self.wake()

    def boots(self, name: str) -> None:
        """The machine is rebooted, as far as a new supervisor can tell."""
        path = self.proc / "sys/kernel/random/boot_id"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name + "\n")

    def make(self) -> Supervisor:
        return Supervisor(
            self.deployment,
            self.store,
            Outside(
                self.runtime,
                self.clock,
                self.server.prober,
                lambda _spec, _serving: self.samples,
                self.environ,
                Host(proc=self.proc, sys_root=self.proc, dev=self.proc, etc=self.proc),
                Notifier({}),
                NoAlerts(),
            ),
            pid=4242,
        )

    def supervise(self, doom: Doom | None = None) -> Run:
        """A new supervisor, running."""
        doom = doom or Doom()
        for thing in (self.runtime, self.journal, self.deployment):
            thing.doom = doom
        run = Run(self.make())
        doom.thread = run.thread
        self.runs.append(run)
        run.thread.start()
        return run

    def wake(self) -> None:
        for run in self.runs[-1:]:
            run.supervisor.wake()

    def leap(self, seconds: float) -> None:
        """Let time pass, and have the supervisor look."""
        self.clock.advance(seconds)
        self.wake()

    def until(self, true: Callable[[], Any], what: str, timeout_s: float = 5.0) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + timeout_s
        while not true():
            if time.monotonic() > deadline:
                tail = [f"{item.event} {item.from_}>{item.to} {item.reason}" for item in self.events()[-12:]]
                raise AssertionError(f"never came: {what}; the journal ends with {tail}")
            time.sleep(0.003)

    def reach(self, phase: Phase, generation: int | None = None) -> Snapshot:
        """Wait for a published phase."""
        wanted = self.generation if generation is None else generation

        def reached() -> bool:
            found = self.published()
            return found is not None and found.state.phase is phase and found.state.generation >= wanted

        self.until(reached, f"{phase} of generation {wanted}")
        found = self.published()
        assert found is not None
        return found

    def hears(self, event: str, times: int = 1) -> None:
        """Wait for a line of the journal."""
        self.until(lambda: self.told(event) >= times, f"{event} in the journal")

    def published(self) -> Snapshot | None:
        return self.deployment.read_state(Snapshot, self.clock.now())

    def events(self) -> list[Event]:
        return [event for _, event in Journal(self.deployment.folder / "events.jsonl").read()]

    def told(self, event: str) -> int:
        return sum(item.event == event for item in self.events())

    def story(self) -> list[str]:
        """The phases of the journal: ``STOPPED -> STARTING``."""
        return [f"{item.from_} -> {item.to}" for item in self.events() if item.event == "phase"]

    def container(self) -> Container:
        """The one container that there is."""
        (found,) = self.runtime.containers("demo")
        return found

    def up(self) -> Run:
        """A supervisor, and a server that is READY."""
        if self.generation == 0:
            self.ask()
        run = self.supervise()
        self.reach(Phase.READY)
        self.until(lambda: self.runtime.open_event_streams > 0, "an event stream")
        return run

    def close(self) -> None:
        """End what the test left running."""
        self.runtime.doom = self.journal.doom = self.deployment.doom = Doom()
        for run in self.runs:
            run.supervisor.end("the test is over")
        for run in self.runs:
            run.thread.join(5.0)
            if run.error is not None:
                bury(run.supervisor)
        self.runtime.go_down("the test is over")


def bury(supervisor: Supervisor) -> None:
    """Let go of what a killed process would have let go of."""
    supervisor._leave_start()
    supervisor._lookout.close()
    supervisor._copy.close()


def changed(spec: Spec, *command: str) -> Spec:
    """``spec`` with another command, and so another hash."""
    return replace(spec, containers=(replace(spec.containers[0], command=command),))
