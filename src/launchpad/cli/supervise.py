"""``supervise``: the line that a systemd unit runs, and that ``up`` starts where there is none."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import typer

from launchpad.cli import complete
from launchpad.cli.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

    from launchpad.runtime.base import Runtime
    from launchpad.store.state import Deployment

#: Seconds after a boot that the GPU driver may take to make its nodes before the start goes on without.
_DRIVER_S: Final = 60.0
#: One of them is there once a driver is loaded: Linux, WSL.
_DRIVER_NODES: Final = ("/dev/nvidiactl", "/dev/dxg")


def supervise(
    name: Annotated[str, typer.Argument(help="Deployment to look after.", autocompletion=complete.deployments)],
    on_word: Annotated[bool, typer.Option("--on-word", hidden=True)] = False,
    if_asked: Annotated[bool, typer.Option("--if-asked", hidden=True)] = False,
) -> None:
    """Look after one deployment in the foreground: start it, restart it, stop it, as was asked.

    `launchpad up` starts this by itself, and the systemd unit runs it. SIGTERM ends the supervisor and never the server.
    Exit code 3: gave up.

    Example: launchpad supervise v4-flash-sglang-tp4
    """
    world = World()
    if if_asked:
        raise typer.Exit(0 if _asked(world, name) else 1)
    if on_word and not _word_came(world):
        raise typer.Exit(0)
    raise typer.Exit(run(world, name))


def _word_came(world: World) -> bool:
    """Get ready while ``up`` still examines, and wait for its word; False where it ended without one."""
    import sys

    import launchpad.supervise.loop
    from launchpad.errors import LaunchpadError

    # What cannot be had now is asked for again, and told, once there is somebody to tell.
    with contextlib.suppress(LaunchpadError):
        _ = world.runtime, launchpad.supervise.loop
    came = bool(sys.stdin.buffer.read(1))
    os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
    return came


def run(world: World, name: str) -> int:
    """Supervise until there is nothing left to do; an exit code. Raises BusyError where another supervisor has it."""
    from launchpad.errors import BusyError

    # A wake that comes before we can hear is not missed: the first look reads everything. By default it would kill us.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    deployment = world.store.known(name)
    lock = deployment.lock()
    if not lock.acquire():
        raise BusyError(
            f"cannot supervise {name}: process {deployment.supervisor_pid()} does already",
            hint=f"launchpad status {name}",
        )
    while True:
        try:
            code = _supervise(world, deployment)
        finally:
            lock.release()
        # Whoever asked after our last look saw us alive and started nobody: the wish is ours, unless another took it.
        if not _asked_since(world, deployment) or not lock.acquire():
            return code


def _supervise(world: World, deployment: Deployment) -> int:
    import faulthandler

    from launchpad.cli import render
    from launchpad.rig.host import Host
    from launchpad.supervise.loop import Supervisor
    from launchpad.supervise.notify import Notifier
    from launchpad.supervise.outside import Outside

    notifier = Notifier(world.environ, say=render.say)
    if notifier.heard:
        faulthandler.enable()  # the watchdog's SIGABRT writes where each thread was
    supervisor = Supervisor(
        deployment,
        world.store,
        Outside(
            _runtime(world, deployment, at_boot=notifier.heard),
            world.clock,
            world.prober,
            world.samples,
            world.environ,
            Host(),
            notifier,
            world.alerts(),
        ),
        pid=os.getpid(),
    )
    signal.signal(signal.SIGTERM, lambda *_: supervisor.end("SIGTERM"))
    signal.signal(signal.SIGINT, lambda *_: supervisor.end("SIGINT"))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, lambda *_: supervisor.wake())
    return supervisor.run()


def _asked_since(world: World, deployment: Deployment) -> bool:
    """Whether something was asked that the state published last does not answer, and no signal ended us."""
    from launchpad.deploy.spec import Spec
    from launchpad.store.state import Wanted
    from launchpad.supervise.machine import Phase
    from launchpad.supervise.snapshot import Snapshot

    now = world.clock.now()
    wanted, snapshot = deployment.read_wanted(Wanted[Spec], now), deployment.read_state(Snapshot, now)
    if wanted is None or snapshot is None or snapshot.state.phase not in {Phase.STOPPED, Phase.FAILED}:
        return False
    return wanted.generation > snapshot.state.generation


def _asked(world: World, name: str) -> bool:
    """Whether there is something to look after: it is wanted, or a wish is not carried out yet; what cannot be read counts."""
    from launchpad.deploy.spec import Spec
    from launchpad.errors import LaunchpadError
    from launchpad.store.state import Wanted
    from launchpad.supervise.machine import Phase
    from launchpad.supervise.snapshot import Snapshot

    try:
        deployment, now = world.store.known(name), world.clock.now()
        wanted, snapshot = deployment.read_wanted(Wanted[Spec], now), deployment.read_state(Snapshot, now)
    except LaunchpadError:
        return True
    if wanted is None or wanted.wanted:
        return True
    return (
        snapshot is None or snapshot.state.phase is not Phase.STOPPED or snapshot.state.generation < wanted.generation
    )


def _runtime(world: World, deployment: Deployment, *, at_boot: bool) -> Runtime:
    """The runtime of what is wanted. A service may be started before Docker and the driver are: then it does not answer yet."""
    from launchpad.deploy.spec import Spec
    from launchpad.store.state import Wanted

    wanted = deployment.read_wanted(Wanted[Spec], world.clock.now())
    if wanted is not None and wanted.spec.hosted is not None:
        return world.runtime_for(hosted=True)
    if not at_boot:
        return world.runtime
    uses_gpus = wanted is not None and bool(wanted.spec.gpus) and wanted.spec.rehearsal is None
    here = world.environ.get("DOCKER_HOST", "unix://").startswith("unix://")
    driver = Driver(world.clock.monotonic, tuple(map(Path, _DRIVER_NODES))) if uses_gpus and here else None
    return cast("Runtime", LateRuntime(lambda: world.runtime, driver.missing if driver else lambda: None))


class Driver:
    """Whether the NVIDIA driver has made its nodes; a rig that never makes them is waited for a minute and no longer."""

    def __init__(self, monotonic: Callable[[], float], nodes: tuple[Path, ...]) -> None:
        self._monotonic, self._nodes = monotonic, nodes
        self._until = monotonic() + _DRIVER_S

    def missing(self) -> str | None:
        """What is waited for, None where there is nothing to wait for."""
        if self._monotonic() >= self._until or any(node.exists() for node in self._nodes):
            return None
        return f"the NVIDIA driver is not loaded yet: there is no {self._nodes[0]}"


class LateRuntime:
    """A runtime that may not be there yet: it is connected to at the first call that finds it, and each call before says why not.

    The supervisor treats that as it treats a Docker Engine that went away: it says so, waits, and sees the containers when it can.
    """

    def __init__(self, connect: Callable[[], Runtime], missing: Callable[[], str | None]) -> None:
        self._connect, self._missing = connect, missing
        self._lock = threading.Lock()
        self._runtime: Runtime | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connected(), name)

    def _connected(self) -> Runtime:
        from launchpad.errors import RuntimeUnavailable

        with self._lock:
            if self._runtime is None:
                if reason := self._missing():
                    raise RuntimeUnavailable(f"cannot use the GPUs: {reason}", hint="sudo modprobe nvidia")
                self._runtime = self._connect()
            return self._runtime
